package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// Finalization prints what a finalization did: its steps, how long the source was fenced, and the verification table by
// table. progress is nil where the service does not offer it. The status word stands last where Out is no terminal.
func (s *Streams) Finalization(status string, progress *api.FinalizationProgress, now time.Time) {
	if progress == nil {
		s.Status(status)
		return
	}
	if s.OutTerminal {
		fenced := ""
		if progress.FencedSeconds != nil {
			fenced = Duration(seconds(*progress.FencedSeconds)) + " (writes to the source were held back)"
		}
		s.pairs([][2]string{
			{"status", s.OutStyle().Status(Clean(status))},
			{"took", took(progress.StartedAt, progress.FinishedAt)},
			{"fenced", fenced},
		})
	} else if progress.FencedSeconds != nil {
		s.pairs([][2]string{{"fenced", Duration(seconds(*progress.FencedSeconds))}})
	}
	s.steps(progress.Steps, now)
	s.verification(progress.Verification)
	if !s.OutTerminal {
		if len(progress.Steps)+len(progress.Verification) > 0 {
			fmt.Fprintln(s.Out)
		}
		s.Status(status)
	}
}

// FinalizationState sums up a finalization for an [Activity].
func FinalizationState(status string, progress *api.FinalizationProgress, now time.Time) State {
	state := State{Key: status, Line: Clean(status)}
	if progress == nil || len(progress.Steps) == 0 {
		return state
	}
	step := progress.Steps[len(progress.Steps)-1]
	state.Key += " " + step.Name
	if step.Seconds == nil { // of one that has ended the tables tell more
		state.Line += ", " + Clean(step.Name) + " for " + stepTime(step, now)
	}
	if progress.FencedSeconds != nil {
		state.Line += ", source fenced for " + Duration(seconds(*progress.FencedSeconds))
	}
	return state
}

func (s *Streams) steps(steps []api.FinalizationStep, now time.Time) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprintln(s.Out)
	var rows [][]string
	for _, step := range steps {
		rows = append(rows, []string{Clean(step.Name), stepTime(step, now)})
	}
	printTable(s.Out, s.OutWidth(), []column{{title: "step"}, {title: "time", right: true}}, rows)
}

func stepTime(step api.FinalizationStep, now time.Time) string {
	if step.Seconds == nil {
		return Duration(now.Sub(step.StartedAt)) + " so far"
	}
	return Duration(seconds(*step.Seconds))
}

func (s *Streams) verification(tables []api.TableVerification) {
	if len(tables) == 0 {
		return
	}
	fmt.Fprintln(s.Out)
	style := s.OutStyle()
	var rows [][]string
	var sum int64
	different := 0
	for _, t := range tables {
		equal := "yes"
		switch t.Validation {
		case api.Validated:
		case api.Mismatched:
			different++
			equal = "NO"
		default:
			equal = strings.ToLower(strings.ReplaceAll(string(t.Validation), "_", " "))
		}
		sum += t.SourceRows
		rows = append(rows, []string{tableName(t.Schema, t.Name), Count(t.SourceRows), Count(t.TargetRows), equal})
	}
	printTable(s.Out, s.OutWidth(), []column{
		{title: "table"},
		{title: "source rows", right: true, drop: 2},
		{title: "target rows", right: true, drop: 1},
		{title: "equal"},
	}, rows)
	text := fmt.Sprintf("\n%s, %s in the source: ", Plural(len(tables), "table"), Plural(sum, "row"))
	switch pending := unverified(tables); {
	case different > 0:
		text += style.Bad(Plural(different, "table") + " not equal")
	case pending > 0:
		text += Plural(pending, "table") + " not verified"
	default:
		text += style.Good("all equal")
	}
	fmt.Fprintln(s.Out, text)
}

func unverified(tables []api.TableVerification) int {
	n := 0
	for _, t := range tables {
		if t.Validation != api.Validated && t.Validation != api.Mismatched {
			n++
		}
	}
	return n
}
