package stream

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The rows that a window is to change are read beforehand, by a session of its own and many at once: the statement that changes
// them reads one after the other, and waits for the disk each time. Nothing depends on it. What it cannot read, or not in time,
// is read by that statement.

const (
	// warmRows is the number of rows from which on it is worth while.
	warmRows = 500

	// warmSettingsSQL makes the server find the pages first and then ask for many of them at once (PostgreSQL manual, 19.4.6,
	// effective_io_concurrency), which it does in bitmap scans only.
	warmSettingsSQL = `
SELECT pg_catalog.set_config(name, CASE name WHEN 'effective_io_concurrency' THEN '100' WHEN 'enable_bitmapscan' THEN 'on' ELSE 'off' END, false)
FROM pg_catalog.pg_settings
WHERE name IN ('effective_io_concurrency', 'enable_bitmapscan', 'enable_indexscan', 'enable_indexonlyscan', 'enable_seqscan')`
)

// rowsToRead are rows of one table, by their keys.
type rowsToRead struct {
	sql  string
	keys []byte // an array of them, in text form
}

// warmer reads rows in the background.
type warmer struct {
	queue chan []rowsToRead // nil: it does nothing
	ended chan struct{}
}

// startWarmer works on conn until ctx ends. Without conn it does nothing.
func startWarmer(ctx context.Context, conn *pgconn.PgConn) *warmer {
	w := &warmer{ended: make(chan struct{})}
	if conn == nil {
		close(w.ended)
		return w
	}
	if _, err := conn.Exec(ctx, warmSettingsSQL).ReadAll(); err != nil {
		close(w.ended)
		return w
	}
	w.queue = make(chan []rowsToRead, 1)
	go func() {
		defer close(w.ended)
		for {
			select {
			case tables := <-w.queue:
				for _, t := range tables {
					conn.ExecParams(ctx, t.sql, [][]byte{t.keys}, nil, nil, nil).Read() // whatever comes of it
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

// warm begins to read what the window changes, unless an earlier one is still being read.
func (w *warmer) warm(next *window) {
	if w.queue == nil || len(w.queue) > 0 {
		return
	}
	var tables []rowsToRead
	for _, s := range next.steps {
		if s.fold == nil || len(s.fold.order) < warmRows || len(s.fold.relation.key) != 1 {
			continue
		}
		if keys := s.fold.keys(); keys != nil {
			tables = append(tables, rowsToRead{s.fold.relation.readRows(), keys})
		}
	}
	if len(tables) == 0 {
		return
	}
	select {
	case w.queue <- tables:
	default:
	}
}

// keys gives the keys of the rows that are there before the fold, as an array in text form, or nil if they are few.
func (f *fold) keys() []byte {
	out := []byte{'{'}
	rows := 0
	for _, n := range f.order {
		if !n.existed {
			continue
		}
		if rows > 0 {
			out = append(out, ',')
		}
		rows++
		out = append(out, '"')
		for _, c := range n.key[f.relation.key[0]].text {
			if c == '"' || c == '\\' {
				out = append(out, '\\')
			}
			out = append(out, c)
		}
		out = append(out, '"')
	}
	if rows < warmRows {
		return nil
	}
	return append(out, '}')
}

// readRows reads rows and keeps nothing of them. The count of a column makes the server look at the rows and not at the index alone.
func (r *relation) readRows() string {
	return strings.Join([]string{"SELECT pg_catalog.count(t.ctid) FROM ONLY", r.name, "AS t WHERE", "t." + r.column(r.key[0]), "= ANY ($1)"}, " ")
}
