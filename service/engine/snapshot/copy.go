package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// ErrRewritten says that a table was rewritten or truncated between the snapshot and its copy. COPY then reads no rows
// without an error, so the table needs a later snapshot.
var ErrRewritten = errors.New("the table was rewritten on the source after the snapshot")

var errRefused = errors.New("the target refused the rows")

// Counter counts what is copied of one table. It is safe for concurrent use.
type Counter struct {
	Rows  atomic.Int64
	Bytes atomic.Int64
}

const filenodeSQL = `SELECT coalesce(pg_catalog.pg_relation_filenode($1::oid), 0)`

// Empty removes what the target's table holds.
func Empty(ctx context.Context, tx pgx.Tx, t catalog.Table) error {
	if _, err := tx.Exec(ctx, "TRUNCATE ONLY "+t.SQLName()); err != nil {
		return fmt.Errorf("emptying table %s on the target: %w", t, err)
	}
	return nil
}

// Copy copies a part from source, a session that has imported the snapshot, into the table of the same name within tx. It
// gives the number of rows. frozen says that Empty was called in the same transaction, which spares the target a later VACUUM
// of all rows (FREEZE, PostgreSQL manual, COPY). Errors: ErrRewritten.
func Copy(ctx context.Context, source *pgx.Conn, tx pgx.Tx, p Part, frozen bool, count *Counter) (int64, error) {
	t := p.Table
	if err := checkFilenode(ctx, source, t); err != nil {
		return 0, err
	}
	from, to := statements(p, frozen, catalog.Major(source))
	pipe, feed := io.Pipe()
	var (
		sent    int64
		readErr error
		done    = make(chan struct{})
	)
	go func() {
		defer close(done)
		sent, readErr = read(ctx, source.PgConn(), from, feed, count)
		_ = feed.CloseWithError(readErr) // nil ends the data, an error makes the target roll back
	}()
	tag, writeErr := tx.Conn().PgConn().CopyFrom(ctx, pipe, to)
	_ = pipe.CloseWithError(errRefused) // stops a source that still sends when the target refused
	<-done
	switch {
	case readErr != nil && !errors.Is(readErr, errRefused):
		return 0, fmt.Errorf("reading table %s from the source: %w", t, readErr)
	case writeErr != nil:
		return 0, fmt.Errorf("writing table %s to the target: %w", t, writeErr)
	}
	written := tag.RowsAffected()
	if sent != written {
		return 0, fmt.Errorf("copying table %s: the source sent %d rows and the target stored %d", t, sent, written)
	}
	return written, checkFilenode(ctx, source, t)
}

// statements gives the COPY of each side, from a source of this major version.
func statements(p Part, frozen bool, major int) (from, to string) {
	binary := inBinary(p.Table)
	var names, values []string
	trimmed := false
	for _, c := range p.Table.Writable() { // their order may differ between the sides, and COPY refuses generated ones
		name := pgx.Identifier{c.Name}.Sanitize()
		value := name
		if binary && major >= trimsBytes && padded(c) {
			trimmed = true
			value = `pg_catalog.rtrim(pg_catalog.bpcharsend(` + name + `), '\x20')`
		}
		names, values = append(names, name), append(values, value)
	}
	list := ""
	if len(names) > 0 { // COPY has no syntax for an empty list, and needs none
		list = " (" + strings.Join(names, ", ") + ")"
	}
	var options []string
	if binary {
		options = append(options, "FORMAT binary")
	}
	from = "COPY " + p.Table.SQLName() + list
	if trimmed || !p.Whole() {
		from = "COPY (SELECT " + strings.Join(values, ", ") + " FROM ONLY " + p.Table.SQLName()
		if !p.Whole() {
			from += " WHERE " + p.where
		}
		from += ")"
	}
	from += " TO STDOUT" + with(options)
	if frozen {
		options = append(options, "FREEZE")
	}
	return from, "COPY " + p.Table.SQLName() + list + " FROM STDIN" + with(options)
}

func with(options []string) string {
	if len(options) == 0 {
		return ""
	}
	return " WITH (" + strings.Join(options, ", ") + ")"
}

func checkFilenode(ctx context.Context, source *pgx.Conn, t catalog.Table) error {
	var filenode uint32
	if err := source.QueryRow(ctx, filenodeSQL, t.OID).Scan(&filenode); err != nil {
		return fmt.Errorf("checking table %s on the source: %w", t, err)
	}
	if filenode != t.Filenode {
		return fmt.Errorf("copying table %s: %w", t, ErrRewritten)
	}
	return nil
}
