package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// mostBars is how many tables a terminal shows at once while waiting.
const mostBars = 8

// Status prints the status of something on Out: with what else is known about it on a terminal, the word alone
// elsewhere. It is the last that a command prints there.
func (s *Streams) Status(status string) {
	if s.OutTerminal {
		s.pairs([][2]string{{"status", s.OutStyle().Status(Clean(status))}})
		return
	}
	fmt.Fprintln(s.Out, Clean(status))
}

// Replication prints how far the replication is. progress is nil where the service does not offer it.
func (s *Streams) Replication(status string, progress *api.ReplicationProgress, now time.Time) {
	if progress == nil || !s.OutTerminal {
		s.Status(status)
		return
	}
	s.pairs([][2]string{
		{"status", s.OutStyle().Status(Clean(status))},
		{"phase", Clean(progress.Phase)},
		{"copied", copied(progress)},
		{"rate", rate(progress, now)},
		{"lag", lag(progress)},
		{"method", method(progress)},
		{"tables", tablesByPhase(progress)},
		{"took", took(progress.StartedAt, progress.FinishedAt)},
	})
	if len(progress.Warnings) > 0 {
		fmt.Fprintln(s.Out, "\n"+s.OutStyle().Attention("warnings"))
		s.list("  ", "-", progress.Warnings)
	}
}

// ReplicationState sums up a replication for an [Activity].
func ReplicationState(status string, progress *api.ReplicationProgress, now time.Time) State {
	if progress == nil {
		return State{Key: status, Line: Clean(status)}
	}
	parts := []string{Clean(status), Clean(progress.Phase)}
	if strings.EqualFold(status, progress.Phase) {
		parts = parts[:1]
	}
	more := []string{copied(progress), rate(progress, now)}
	if behind := lag(progress); behind != "" { // what was copied is of no interest any more
		more = []string{behind}
	}
	for _, part := range more {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return State{
		Key:  status + " " + progress.Phase,
		Line: strings.Join(parts, ", "),
		Details: func(width int) []string {
			return bars(progress.Tables, width)
		},
	}
}

// bars draws a line for each table that is being worked on, as many as a terminal can show.
func bars(tables []api.TableProgress, width int) []string {
	var busy []api.TableProgress
	widest := 0
	for _, t := range tables {
		if t.Phase != api.TableCopying && t.Phase != api.TableIndexing {
			continue
		}
		if busy = append(busy, t); len(busy) <= mostBars {
			widest = max(widest, columns(tableName(t.Schema, t.Name)))
		}
	}
	more := len(busy) - mostBars
	if more > 0 {
		busy = busy[:mostBars]
	}
	const numbers = len(" 100%  999.9 MB of 999.9 MB")
	widest = min(widest, max(width-numbers-8, narrowest))
	room := min(width-widest-numbers-3, 40)
	var lines []string
	for _, t := range busy {
		line := "  " + pad(cut(tableName(t.Schema, t.Name), widest), widest)
		if room >= 5 {
			line += " " + bar(t.BytesCopied, t.BytesTotal, room)
		}
		line += fmt.Sprintf(" %3d%%  ", share(t.BytesCopied, t.BytesTotal))
		if t.Phase == api.TableIndexing {
			line += "indexing"
		} else {
			line += Bytes(t.BytesCopied) + " of " + Bytes(t.BytesTotal)
		}
		lines = append(lines, line)
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("  and %s more", Count(int64(more))))
	}
	return lines
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-columns(text), 0))
}

func copied(p *api.ReplicationProgress) string {
	if p.BytesTotal == 0 && p.RowsTotal == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s (%d%%), %s of %s rows",
		Bytes(p.BytesCopied), Bytes(p.BytesTotal), share(p.BytesCopied, p.BytesTotal), Count(p.RowsCopied), Count(p.RowsTotal))
}

func rate(p *api.ReplicationProgress, now time.Time) string {
	if p.BytesPerSecond == nil || *p.BytesPerSecond <= 0 {
		return ""
	}
	text := Bytes(*p.BytesPerSecond) + "/s"
	if p.EstimatedEnd != nil && p.EstimatedEnd.After(now) && p.Phase == "copying" {
		text += ", about " + Duration(p.EstimatedEnd.Sub(now).Round(time.Second)) + " left"
	}
	return text
}

func lag(p *api.ReplicationProgress) string {
	var parts []string
	if p.LagBytes != nil {
		parts = append(parts, Bytes(*p.LagBytes))
	}
	if p.LagSeconds != nil {
		parts = append(parts, Duration(seconds(*p.LagSeconds)))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + " behind"
}

func method(p *api.ReplicationProgress) string {
	if p.Method == nil || *p.Method == "" {
		return ""
	}
	text := Clean(*p.Method)
	if p.MethodReason != nil && *p.MethodReason != "" {
		text += ": " + Clean(*p.MethodReason)
	}
	return text
}

// tablesByPhase counts the tables, by phase where all of them are on the page.
func tablesByPhase(p *api.ReplicationProgress) string {
	if p.TablesTotal == 0 {
		return ""
	}
	text := Count(int64(p.TablesTotal))
	if len(p.Tables) != p.TablesTotal {
		return text
	}
	counts := map[api.TablePhase]int{}
	for _, t := range p.Tables {
		counts[t.Phase]++
	}
	for _, phase := range []api.TablePhase{api.TablePending, api.TableCopying, api.TableIndexing, api.TableReplicating, api.TableDeferred} {
		if n := counts[phase]; n > 0 {
			text += fmt.Sprintf(", %s %s", Count(int64(n)), strings.ToLower(string(phase)))
		}
	}
	return text
}

func took(start, end *time.Time) string {
	if start == nil || end == nil {
		return ""
	}
	return Duration(end.Sub(*start))
}

// tableName is a table's name as a person writes it.
func tableName(schema, name string) string {
	return cleanName(schema) + "." + cleanName(name)
}
