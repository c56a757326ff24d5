package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// Tables prints the statistics of every table on Out, in the order given, and the sum of them below.
func (s *Streams) Tables(progress api.ReplicationProgress, now time.Time) {
	rows := make([][]string, 0, len(progress.Tables))
	for _, t := range progress.Tables {
		rows = append(rows, []string{
			tableName(t.Schema, t.Name),
			strings.ToLower(string(t.Phase)),
			fmt.Sprintf("%d%%", share(t.BytesCopied, t.BytesTotal)),
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
	fmt.Fprintln(s.Out)
	s.pairs([][2]string{
		{"copied", copied(&progress)},
		{"rate", rate(&progress, now)},
		{"lag", lag(&progress)},
		{"tables", tablesByPhase(&progress)},
	})
}
