// Package fence keeps writers off the source while a migration is finalized, in three layers: the database becomes
// read-only by default and its sessions are ended; the tables are locked against writes, which is the proof; and before the
// locks are let go after a success, triggers refuse writes that come too late, and stay. Reading goes on all the time.
package fence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// Fence is one migration's fence on the source. It is not safe for concurrent use.
type Fence struct {
	Source capture.Source // whose token every change on the source holds; its session is not used
	Dial   database.Dial
	locker *pgx.Conn // in the transaction that holds the locks; nil without
	held   Tables    // that are locked
}

// Tables are tables by their SQL names.
type Tables struct {
	Parents []string // partitioned tables, which hold no rows themselves, a parent before its children
	Rows    []string // those that hold rows
}

func (t Tables) all() []string { return slices.Concat(t.Parents, t.Rows) }

// BlockedError says that a session that we may not end keeps a table from being locked.
type BlockedError struct {
	Sessions []string // for people: "process 4711 (application app, user u)"
	Err      error
	what     string // they do; empty: they use tables
}

func (e *BlockedError) Error() string {
	if len(e.Sessions) == 0 {
		return "tables of the source could not be locked in time"
	}
	what := e.what
	if what == "" {
		what = "tables of the source are in use by"
	}
	return what + " " + strings.Join(e.Sessions, ", ")
}

func (e *BlockedError) Unwrap() error { return e.Err }

const (
	recordReadOnlySQL = `
INSERT INTO {schema}.settings (name, value)
SELECT 'default_transaction_read_only', (
    SELECT pg_catalog.split_part(setting, '=', 2)
    FROM pg_catalog.pg_db_role_setting AS s, pg_catalog.unnest(s.setconfig) AS setting
    WHERE s.setdatabase = d.oid AND s.setrole = 0 AND setting LIKE 'default_transaction_read_only=%')
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
ON CONFLICT (name) DO NOTHING`

	ownsDatabaseSQL = `
SELECT pg_catalog.pg_has_role(datdba, 'USAGE')
FROM pg_catalog.pg_database
WHERE datname = pg_catalog.current_database()`

	// Sessions of logins that ours is not a member of cannot be ended; the locks deal with them.
	endSessionsSQL = `
SELECT pg_catalog.pg_terminate_backend(a.pid)
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE a.datname = pg_catalog.current_database()
  AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.application_name NOT LIKE 'pgmig%'
  AND pg_catalog.pg_has_role(a.usesysid, 'USAGE')
  AND NOT r.rolsuper`

	blockersSQL = `
SELECT a.pid, coalesce(a.usename, '?'), coalesce(a.application_name, ''), pg_catalog.pg_has_role(a.usesysid, 'USAGE') AND NOT r.rolsuper
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE a.pid IN (
    SELECT l.pid
    FROM pg_catalog.pg_locks AS l
    WHERE l.granted
      AND l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      AND l.relation = ANY ($1::text[]::pg_catalog.regclass[]::oid[])
      AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
  AND a.application_name NOT LIKE 'pgmig%'
ORDER BY a.pid`

	// They have no session that could be ended.
	preparedBlockersSQL = `
SELECT DISTINCT 'prepared transaction ' || x.gid
FROM pg_catalog.pg_prepared_xacts AS x
JOIN pg_catalog.pg_locks AS l ON l.pid IS NULL AND l.virtualtransaction = '-1/' || x.transaction::text
WHERE x.database = pg_catalog.current_database()
  AND l.locktype = 'relation'
  AND l.relation = ANY ($1::text[]::pg_catalog.regclass[]::oid[])
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
ORDER BY 1`
)

func (f *Fence) in(sql string) string {
	return strings.ReplaceAll(sql, "{schema}", pgx.Identifier{capture.Schema(f.Source.ID)}.Sanitize())
}

// ReadOnly makes the database read-only by default and ends the sessions that it may end. The old setting is recorded first.
// It gives a warning, and does nothing, when the login does not own the database.
func (f *Fence) ReadOnly(ctx context.Context, conn *pgx.Conn) (warning string, err error) {
	var owns bool
	if err := conn.QueryRow(ctx, ownsDatabaseSQL).Scan(&owns); err != nil {
		return "", fmt.Errorf("asking who owns the source database: %w", err)
	}
	if owns {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if err := f.Source.Hold(ctx, tx); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, f.in(recordReadOnlySQL)); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "ALTER DATABASE "+databaseName(conn)+" SET default_transaction_read_only = on")
			return err
		})
		if err != nil {
			return "", fmt.Errorf("making the source database read-only by default: %w", err)
		}
	} else {
		warning = "the login does not own the source database, so that its default cannot be made read-only; the table locks keep writers off"
	}
	if err := asLogin(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, endSessionsSQL)
		return err
	}); err != nil {
		return warning, fmt.Errorf("ending the sessions on the source: %w", err)
	}
	return warning, nil
}

// asLogin does something as the login itself and not as an owner role that it is set to: a login may end its own sessions,
// which the role may not.
func asLogin(ctx context.Context, conn *pgx.Conn, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE NONE"); err != nil {
			return err
		}
		return do(tx)
	})
}

func databaseName(conn *pgx.Conn) string { return pgx.Identifier{conn.Config().Database}.Sanitize() }

const (
	lockTimeout        = "2s"
	tablesPerStatement = 500
)

// Lock locks the tables against writes. The parents of partitions come first and are locked too: a writer locks in that order, and
// Arm's statement triggers fire for the table that a statement names. The mode is the one that Arm needs, so that it never waits.
// Sessions in the way are ended if we may. It tries until limit is over: *BlockedError.
func (f *Fence) Lock(ctx context.Context, conn *pgx.Conn, tables Tables, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	var err error
	if f.locker, err = f.Dial(ctx); err != nil {
		return err
	}
	if _, err := f.locker.Exec(ctx, "BEGIN; SET LOCAL lock_timeout = '"+lockTimeout+"'", pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("locking the tables of the source: %w", err)
	}
	if err := f.Source.Hold(ctx, f.locker); err != nil {
		return fmt.Errorf("locking the tables of the source: %w", err)
	}
	for batch := range slices.Chunk(tables.all(), tablesPerStatement) {
		if err := f.lockBatch(ctx, conn, batch, deadline); err != nil {
			return err
		}
	}
	f.held = tables
	return nil
}

func (f *Fence) lockBatch(ctx context.Context, conn *pgx.Conn, batch []string, deadline time.Time) error {
	lock := "LOCK TABLE ONLY " + strings.Join(batch, ", ONLY ") + " IN SHARE ROW EXCLUSIVE MODE"
	for {
		_, err := f.locker.Exec(ctx, "SAVEPOINT batch; "+lock+"; RELEASE SAVEPOINT batch", pgx.QueryExecModeSimpleProtocol)
		if err == nil {
			return nil
		}
		// Lets go of this batch alone.
		if _, rollbackErr := f.locker.Exec(ctx, "ROLLBACK TO SAVEPOINT batch; RELEASE SAVEPOINT batch", pgx.QueryExecModeSimpleProtocol); rollbackErr != nil {
			return fmt.Errorf("locking the tables of the source: %w", err)
		}
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || (pg.Code != "55P03" && pg.Code != "40P01") { // lock_not_available, deadlock_detected
			return fmt.Errorf("locking the tables of the source: %w", err)
		}
		_, blockers, blockersErr := endSessions(ctx, conn, blockersSQL, batch)
		if blockersErr != nil {
			return blockersErr
		}
		if time.Now().After(deadline) {
			prepared, preparedErr := names(ctx, conn, preparedBlockersSQL, batch)
			if preparedErr != nil {
				return preparedErr
			}
			return &BlockedError{Sessions: append(blockers, prepared...), Err: err}
		}
	}
}

// endSessions ends the sessions that the query gives, as far as it may, and describes the others.
func endSessions(ctx context.Context, conn *pgx.Conn, query string, args ...any) (ended int, others []string, err error) {
	type blocker struct {
		PID         int32
		User        string
		Application string
		Ours        bool
	}
	err = asLogin(ctx, conn, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		blockers, err := pgx.CollectRows(rows, pgx.RowToStructByPos[blocker])
		if err != nil {
			return err
		}
		for _, b := range blockers {
			if !b.Ours {
				others = append(others, fmt.Sprintf("process %d (application %q, user %s)", b.PID, b.Application, b.User))
				continue
			}
			if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend($1)", b.PID); err != nil {
				return err
			}
			ended++
		}
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("dealing with the sessions that use the source: %w", err)
	}
	return ended, others, nil
}

const (
	// 25006 is read_only_sql_transaction.
	refuseSQL = `
CREATE OR REPLACE FUNCTION {schema}.refuse() RETURNS trigger
LANGUAGE plpgsql
AS $refuse$
BEGIN
    RAISE EXCEPTION 'this database was migrated: table %.% is read-only here', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'read_only_sql_transaction',
              HINT = 'Bind the application to the new service instance.';
END
$refuse$`

	// The same function, when it lets writes through: it takes its triggers' effect away at once and without a lock, which their
	// removal has to wait for.
	allowSQL = `
CREATE OR REPLACE FUNCTION {schema}.refuse() RETURNS trigger
LANGUAGE plpgsql
AS $allow$
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$allow$`

	statementTrigger = "_pgmig_refuse"
	rowTrigger       = "_pgmig_refuse_row"

	triggerSQL = `
CREATE TRIGGER _pgmig_refuse
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE PROCEDURE {schema}.refuse();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER _pgmig_refuse;
`

	// What a subscription applies fires no triggers of statements but for TRUNCATE.
	rowTriggerSQL = `
CREATE TRIGGER _pgmig_refuse_row
    BEFORE INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE PROCEDURE {schema}.refuse();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER _pgmig_refuse_row;
`
)

// CreateRefusal makes the function that Arm's triggers call. It refuses nothing before Harden.
func (f *Fence) CreateRefusal(ctx context.Context, conn *pgx.Conn) error {
	if err := f.allow(ctx, conn); err != nil {
		return fmt.Errorf("creating the function that refuses writes on the source: %w", err)
	}
	return nil
}

func (f *Fence) allow(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := f.Source.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, f.in(allowSQL))
		return err
	})
}

// Arm puts triggers that refuse every write on all locked tables. Nobody sees them before Harden. It may run while other
// sessions work.
func (f *Fence) Arm(ctx context.Context) error {
	armed, err := f.armed(ctx, f.locker)
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		tables       []string
		trigger, sql string
	}{
		{f.held.all(), statementTrigger, triggerSQL},
		{f.held.Rows, rowTrigger, rowTriggerSQL},
	} {
		for batch := range slices.Chunk(kind.tables, tablesPerStatement) {
			var sql strings.Builder
			for _, t := range batch {
				if !armed[armedTable{t, kind.trigger}] { // one that could not be taken away in time
					sql.WriteString(strings.ReplaceAll(f.in(kind.sql), "{table}", t))
				}
			}
			if _, err := f.locker.Exec(ctx, sql.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("creating the triggers that refuse writes on the source: %w", err)
			}
		}
	}
	if _, err := f.locker.Exec(ctx, f.in(refuseSQL)); err != nil {
		return fmt.Errorf("making the triggers on the source refuse writes: %w", err)
	}
	return nil
}

// Harden lets Arm's triggers stand and the locks go in the same moment. A statement that waits for a lock then finds the
// trigger: no write slips through between fence and opening.
func (f *Fence) Harden(ctx context.Context) error {
	if _, err := f.locker.Exec(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("creating the triggers that refuse writes on the source: %w", err)
	}
	return nil
}

// Release ends the locks, without a trigger unless Harden was called. It can be called again.
func (f *Fence) Release(ctx context.Context) {
	if f.locker != nil {
		_ = f.locker.Close(context.WithoutCancel(ctx))
	}
	f.locker, f.held = nil, Tables{}
}

const (
	oldReadOnlySQL = `
SELECT value
FROM {schema}.settings
WHERE name = 'default_transaction_read_only'`

	forgetReadOnlySQL = `
DELETE FROM {schema}.settings
WHERE name = 'default_transaction_read_only'`
)

// Lift makes the source writable again, at once, and then takes the triggers away. It is idempotent, and does nothing when our
// schema is not there. Errors: capture.ErrTakenOver; *BlockedError when the source is writable, but somebody reads a table for so
// long that its trigger, which does nothing any more, could not be taken away.
func (f *Fence) Lift(ctx context.Context, conn *pgx.Conn) error {
	records, err := f.records(ctx, conn)
	if err != nil || !records {
		return err
	}
	exists, err := f.refusalExists(ctx, conn)
	if err != nil {
		return err
	}
	if exists {
		if err := f.allow(ctx, conn); err != nil {
			return fmt.Errorf("making the tables of the source writable again: %w", err)
		}
	}
	if err := f.restoreSetting(ctx, conn); err != nil || !exists {
		return err
	}
	return f.disarm(ctx, conn)
}

const (
	armedSQL = `
SELECT n.nspname, c.relname, t.tgname
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgname IN ('_pgmig_refuse', '_pgmig_refuse_row') AND t.tgfoid = pg_catalog.to_regprocedure($1)
ORDER BY c.oid`

	// One table at a time: all of them at once would lock each other's readers out, and fill the lock table. A reader that is
	// there is waited for a moment only: all later ones wait behind us. The function goes last, with a commit that is waited for.
	disarmTableSQL = `
BEGIN;
SET LOCAL synchronous_commit = off;
SET LOCAL lock_timeout = '{timeout}';
{hold};
DROP TRIGGER IF EXISTS _pgmig_refuse ON {table};
DROP TRIGGER IF EXISTS _pgmig_refuse_row ON {table};
COMMIT;
`

	disarmTimeout = "200ms"
	disarmPause   = time.Second
	// disarmTries is how often in a row a table may be in use.
	disarmTries = 20
)

// armedTable is a table with one of our triggers.
type armedTable struct{ table, trigger string }

// armed gives the tables that have our triggers.
func (f *Fence) armed(ctx context.Context, conn *pgx.Conn) (map[armedTable]bool, error) {
	rows, err := conn.Query(ctx, armedSQL, f.in("{schema}.refuse()"))
	if err != nil {
		return nil, fmt.Errorf("looking for the triggers that refuse writes on the source: %w", err)
	}
	armed := map[armedTable]bool{}
	var schema, name, trigger string
	if _, err := pgx.ForEachRow(rows, []any{&schema, &name, &trigger}, func() error {
		armed[armedTable{pgx.Identifier{schema, name}.Sanitize(), trigger}] = true
		return nil
	}); err != nil {
		return nil, fmt.Errorf("looking for the triggers that refuse writes on the source: %w", err)
	}
	return armed, nil
}

// disarm drops the triggers and their function, which does nothing any more.
func (f *Fence) disarm(ctx context.Context, conn *pgx.Conn) error {
	fill := strings.NewReplacer("{timeout}", disarmTimeout, "{hold}", f.Source.HoldSQL())
	left := -1
	for try := 1; ; try++ {
		armed, err := f.armed(ctx, conn)
		if err != nil {
			return err
		}
		var tables []string
		for t := range armed {
			tables = append(tables, t.table)
		}
		slices.Sort(tables)
		tables = slices.Compact(tables)
		if len(tables) == 0 {
			break
		}
		if left < 0 || len(tables) < left {
			left, try = len(tables), 1
		}
		err = disarmTables(ctx, conn, fill.Replace(disarmTableSQL), tables)
		var pg *pgconn.PgError
		switch {
		case err == nil:
			continue
		case !errors.As(err, &pg) || (pg.Code != "55P03" && pg.Code != "40P01"): // lock_not_available, deadlock_detected
			return fmt.Errorf("dropping the triggers that refused writes on the source: %w", f.Source.Held(err))
		case try == disarmTries:
			sessions, namesErr := names(ctx, conn, readersSQL, tables)
			if namesErr != nil {
				return namesErr
			}
			return &BlockedError{Sessions: sessions, Err: err}
		}
		select {
		case <-time.After(disarmPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := f.Source.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, f.in("DROP FUNCTION IF EXISTS {schema}.refuse()")) // and no trigger with it
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping the function that refused writes on the source: %w", err)
	}
	return nil
}

// disarmTables goes through all tables, also when some of them are in use; the error is that of the last one.
func disarmTables(ctx context.Context, conn *pgx.Conn, statements string, tables []string) (last error) {
	for batch := range slices.Chunk(tables, tablesPerStatement) {
		for len(batch) > 0 {
			var sql strings.Builder
			for _, t := range batch {
				sql.WriteString(strings.ReplaceAll(statements, "{table}", t))
			}
			results := conn.PgConn().Exec(ctx, sql.String())
			done := 0
			for results.NextResult() {
				if tag, _ := results.ResultReader().Close(); tag.String() == "COMMIT" {
					done++
				}
			}
			err := results.Close()
			if err == nil {
				break
			}
			_, _ = conn.Exec(ctx, "ROLLBACK") // else the session stays in the failed transaction
			if conn.IsClosed() {
				return err
			}
			last = err
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "55P03" {
				return err
			}
			batch = batch[min(done+1, len(batch)):] // the next one may be free
		}
	}
	return last
}

// readersSQL names the sessions that hold any lock on tables.
const readersSQL = `
SELECT DISTINCT 'process ' || a.pid || ' (application "' || coalesce(a.application_name, '') || '", user ' || coalesce(a.usename, '?') || ')'
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted
  AND l.locktype = 'relation'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND l.relation = ANY ($1::text[]::pg_catalog.regclass[]::oid[])
  AND a.pid <> pg_catalog.pg_backend_pid()
ORDER BY 1`

// names gives what a query for one text gives.
func names(ctx context.Context, conn *pgx.Conn, query string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("looking for the sessions that use the source: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("looking for the sessions that use the source: %w", err)
	}
	return found, nil
}

// Settle leaves of a fence that Harden has made last its triggers alone, and gives the database its old setting back:
// brokers write to the catalog, and could not remove a login from a database that is read-only. It is idempotent.
func (f *Fence) Settle(ctx context.Context, conn *pgx.Conn) error {
	records, err := f.records(ctx, conn)
	if err != nil || !records {
		return err
	}
	return f.restoreSetting(ctx, conn)
}

// records tells whether our schema, which holds what the fence has to restore, is on the source.
func (f *Fence) records(ctx context.Context, conn *pgx.Conn) (found bool, err error) {
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", f.in("{schema}.settings")).Scan(&found); err != nil {
		return false, fmt.Errorf("looking for the fence on the source: %w", err)
	}
	return found, nil
}

// refusalExists tells whether the function is there that triggers call.
func (f *Fence) refusalExists(ctx context.Context, conn *pgx.Conn) (found bool, err error) {
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.to_regprocedure($1) IS NOT NULL", f.in("{schema}.refuse()")).Scan(&found); err != nil {
		return false, fmt.Errorf("looking for the fence on the source: %w", err)
	}
	return found, nil
}

// restoreSetting gives the database the setting back that ReadOnly recorded.
func (f *Fence) restoreSetting(ctx context.Context, conn *pgx.Conn) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := f.Source.Hold(ctx, tx); err != nil {
			return err
		}
		var old *string
		switch err := tx.QueryRow(ctx, f.in(oldReadOnlySQL)).Scan(&old); {
		case errors.Is(err, pgx.ErrNoRows):
			return nil // not fenced
		case err != nil:
			return err
		}
		statement := "ALTER DATABASE " + databaseName(conn) + " RESET default_transaction_read_only"
		if old != nil { // as it was spelled
			value := "'" + strings.ReplaceAll(*old, "'", "''") + "'"
			statement = "ALTER DATABASE " + databaseName(conn) + " SET default_transaction_read_only = " + value
		}
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, f.in(forgetReadOnlySQL))
		return err
	})
	if err != nil {
		return fmt.Errorf("making the source database writable again: %w", err)
	}
	return nil
}
