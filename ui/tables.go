package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// Tables prints the statistics of the first tables on Out, in the order given, and the sum of all of them below.
func (s *Streams) Tables(progress api.ReplicationProgress, now time.Time, most int) {
	shown := progress.Tables[:min(most, len(progress.Tables))]
	rows := make([][]string, 0, len(shown))
	for _, t := range shown {
		rows = append(rows, []string{
			tableName(t.Schema, t.Name),
			strings.ToLower(string(t.Phase)),
			tableShare(&t),
			Count(t.RowsCopied),
			Bytes(t.BytesCopied),
			Count(t.Inserts),
			Count(t.Updates),
			Count(t.Deletes),
			strings.ToLower(strings.ReplaceAll(string(t.Validation), "_", " ")),
		})
	}
	printTable(s.Out, s.OutWidth(), []column{
		{title: "table"},
		{title: "phase"},
		{title: "copied", right: true, drop: 2},
		{title: "rows", right: true, drop: 3},
		{title: "size", right: true, drop: 4},
		{title: "inserts", right: true, drop: 5},
		{title: "updates", right: true, drop: 6},
		{title: "deletes", right: true, drop: 7},
		{title: "validation", drop: 1},
	}, rows)
	if more := len(progress.Tables) - len(shown); more > 0 {
		fmt.Fprintf(s.Out, "and %s more: see them with --all\n", Count(int64(more)))
	}
	fmt.Fprintln(s.Out)
	s.pairs([][2]string{
		{"copied", copied(&progress)},
		{"rate", rate(&progress, now)},
		{"lag", lag(&progress)},
		{"tables", tablesByPhase(&progress)},
		{"validation", tablesByValidation(&progress)},
	})
}

// tablesByValidation counts the tables of which it is known whether they are equal on both sides.
func tablesByValidation(p *api.ReplicationProgress) string {
	counts := map[api.ValidationState]int{}
	for _, t := range p.Tables {
		counts[t.Validation]++
	}
	var parts []string
	for _, state := range []api.ValidationState{api.Mismatched, api.ValidationPending, api.Validated} {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", Count(int64(n)), strings.ToLower(string(state))))
		}
	}
	return strings.Join(parts, ", ")
}

// tableShare is how much of a table is copied. An empty one is there as soon as it is replicated.
func tableShare(t *api.TableProgress) string {
	if t.BytesTotal == 0 && t.Phase == api.TableReplicating {
		return "100%"
	}
	return fmt.Sprintf("%d%%", share(t.BytesCopied, t.BytesTotal))
}
