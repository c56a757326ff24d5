package snapshot

import (
	"bufio"
	"bytes"
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

// copyBuffer is the size of the pieces in which rows go from the source to the target.
const copyBuffer = 256 << 10

const filenodeSQL = `SELECT coalesce(pg_catalog.pg_relation_filenode($1::oid), 0)`

// Table copies t from source, a session that has imported the snapshot, into the table of the same name within tx. What the
// target's table holds is removed first. It gives the number of rows. Errors: ErrRewritten.
//
// TRUNCATE in the same transaction allows FREEZE, which spares the target a later VACUUM of all rows (PostgreSQL manual, COPY).
func Table(ctx context.Context, source *pgx.Conn, tx pgx.Tx, t catalog.Table, count *Counter) (int64, error) {
	if err := checkFilenode(ctx, source, t); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, "TRUNCATE ONLY "+t.SQLName()); err != nil {
		return 0, fmt.Errorf("emptying table %s on the target: %w", t, err)
	}
	columns := columnList(t)
	pipe, feed := io.Pipe()
	var (
		read    int64
		readErr error
		done    = make(chan struct{})
	)
	go func() {
		defer close(done)
		// COPY gives a message a row; the buffer makes big pieces of them.
		buffer := bufio.NewWriterSize(&counting{feed, count}, copyBuffer)
		tag, err := source.PgConn().CopyTo(ctx, buffer, "COPY "+t.SQLName()+columns+" TO STDOUT")
		if err == nil {
			err = buffer.Flush()
		}
		read, readErr = tag.RowsAffected(), err
		_ = feed.CloseWithError(err) // nil ends the data, an error makes the target roll back
	}()
	tag, writeErr := tx.Conn().PgConn().CopyFrom(ctx, pipe, "COPY "+t.SQLName()+columns+" FROM STDIN WITH (FREEZE)")
	_ = pipe.CloseWithError(errRefused) // stops a source that still sends when the target refused
	<-done
	switch {
	case readErr != nil && !errors.Is(readErr, errRefused):
		return 0, fmt.Errorf("reading table %s from the source: %w", t, readErr)
	case writeErr != nil:
		return 0, fmt.Errorf("writing table %s to the target: %w", t, writeErr)
	}
	written := tag.RowsAffected()
	if read != written {
		return 0, fmt.Errorf("copying table %s: the source sent %d rows and the target stored %d", t, read, written)
	}
	return written, checkFilenode(ctx, source, t)
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

// columnList names the columns that can be written: their order may differ between the sides, and COPY refuses generated
// ones. COPY has no syntax for an empty list, and needs none.
func columnList(t catalog.Table) string {
	columns := t.Writable()
	if len(columns) == 0 {
		return ""
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = pgx.Identifier{c.Name}.Sanitize()
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// counting counts bytes and, as COPY's text has one line a row, rows on their way.
type counting struct {
	to    io.Writer
	count *Counter
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.count.Bytes.Add(int64(n))
	c.count.Rows.Add(int64(bytes.Count(p[:n], []byte{'\n'})))
	return n, err
}
