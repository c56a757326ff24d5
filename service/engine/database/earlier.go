package database

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Application gives the application_name of a worker's sessions. An operator sees whose they are, and a worker that takes over
// finds those of earlier ones.
func Application(migration string, epoch int64) string {
	return fmt.Sprintf("pgmig_%s_%d", migration, epoch)
}

const (
	// As the login itself and not as an owner role that it is set to: a login may end its own sessions, which the role may not.
	endEarlierSQL = `
SELECT a.pid, coalesce(a.usename, '?'), pg_catalog.pg_has_role(a.usesysid, 'USAGE') AND NOT r.rolsuper
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE a.datname = pg_catalog.current_database()
  AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.application_name ~ ('^pgmig_' || $1 || '(_[0-9]+)?$')
  AND coalesce(pg_catalog.substring(a.application_name, '_([0-9]+)$')::bigint, 0) < $2
ORDER BY a.pid`

	earlierPause = 50 * time.Millisecond
	// earlierLimit is how long sessions may take to end. One that waits for its client's network notices at once that it is ended.
	earlierLimit = 5 * time.Second
)

// EarlierError says that sessions of earlier workers do not end.
type EarlierError struct{ Sessions []string }

func (e *EarlierError) Error() string {
	return "sessions of an earlier worker do not end: " + strings.Join(e.Sessions, ", ")
}

// EndEarlier ends the sessions that earlier workers of a migration have with conn's database, and waits until they are gone: such
// a worker may be frozen, and holds what its sessions have locked. Error: *EarlierError when some do not end.
func EndEarlier(ctx context.Context, conn *pgx.Conn, migration string, epoch int64) error {
	for deadline := time.Now().Add(earlierLimit); ; {
		var left []string
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL ROLE NONE"); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, endEarlierSQL, migration, epoch)
			if err != nil {
				return err
			}
			var (
				pid  int32
				user string
				ours bool
				pids []int32
			)
			if _, err := pgx.ForEachRow(rows, []any{&pid, &user, &ours}, func() error {
				left = append(left, fmt.Sprintf("process %d of %s", pid, user))
				if ours {
					pids = append(pids, pid)
				}
				return nil
			}); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.unnest($1::int[]) AS pid", pids)
			return err
		})
		switch {
		case err != nil:
			return fmt.Errorf("ending the sessions of earlier workers: %w", err)
		case len(left) == 0:
			return nil
		case time.Now().After(deadline):
			return &EarlierError{Sessions: left}
		}
		select {
		case <-time.After(earlierPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
