package fence

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// Whoever has written something has a transaction id, and everybody may see its lock.
	writersSQL = `
SELECT a.pid, coalesce(a.usename, '?'), coalesce(a.application_name, ''), pg_catalog.pg_has_role(a.usesysid, 'USAGE') AND NOT r.rolsuper
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE l.locktype = 'transactionid'
  AND l.mode = 'ExclusiveLock'
  AND l.granted
  AND a.datname = pg_catalog.current_database()
  AND a.application_name NOT LIKE 'pgmig%'
ORDER BY a.pid`

	preparedSQL = `
SELECT 'prepared transaction ' || gid
FROM pg_catalog.pg_prepared_xacts
WHERE database = pg_catalog.current_database()
ORDER BY 1`

	writersPause = 50 * time.Millisecond
)

// AwaitWriters waits until no transaction that has written anything is open in the source database, and ends the sessions
// that it may end. It is for what no lock protects: what was written before it returns can be seen afterwards. It tries until
// limit is over: *BlockedError.
func (f *Fence) AwaitWriters(ctx context.Context, conn *pgx.Conn, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		ended, others, err := endSessions(ctx, conn, writersSQL)
		if err != nil {
			return err
		}
		rows, err := conn.Query(ctx, preparedSQL)
		if err != nil {
			return fmt.Errorf("looking for prepared transactions on the source: %w", err)
		}
		prepared, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("looking for prepared transactions on the source: %w", err)
		}
		others = append(others, prepared...)
		switch {
		case ended == 0 && len(others) == 0:
			return nil
		case time.Now().After(deadline):
			return &BlockedError{what: "the source is written to by", Sessions: others}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(writersPause):
		}
	}
}
