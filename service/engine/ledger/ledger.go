// Package ledger keeps a migration's durable progress in the target database, in the schema _pgmig: what is there is
// changed in the transaction that changes the data, so that every change is applied exactly once.
package ledger

import (
	"context"
	_ "embed" // for the tables
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// Schema is the schema of the ledger on the target.
const Schema = "_pgmig"

// Stage is how far a migration has come, as far as a restart needs to know.
type Stage string

// The stages in their order.
const (
	StageNone    Stage = ""        // nothing is on the target yet
	StageSchema  Stage = "schema"  // the entries of the schema copy say which of them are there
	StageCopying Stage = "copying" // the schema is there; each table says whether it is copied
	StageStream  Stage = "stream"  // all tables and indexes are there, but for deferred tables
	StageOpened  Stage = "opened"  // the point of no return is passed: the target is the truth
	StageDone    Stage = "done"    // nothing is left to do; the ledger, which goes with it, never says so
)

// StageError says that the ledger does not go from one stage to another, or does not stand where the caller thinks.
type StageError struct{ From, To Stage }

func (e *StageError) Error() string {
	return fmt.Sprintf("the ledger on the target cannot go from stage %q to %q", e.From, e.To)
}

// Method is how a migration carries the changes that come after its first snapshot. It is decided once.
type Method string

// The methods, spelled as in the API.
const (
	Logical Method = "logical" // by logical decoding
	Offline Method = "offline" // not at all: everything is copied in the finalization, under the fence
)

// ErrTakenOver says that a worker with a higher epoch works on this migration now.
var ErrTakenOver = capture.ErrTakenOver

// ErrForeign says that the target's ledger belongs to another migration.
var ErrForeign = errors.New("the target holds the ledger of another migration")

// DB is what the ledger needs of a session or a transaction.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Ledger is one migration's ledger, as one worker with one epoch sees it.
type Ledger struct {
	Migration string
	Epoch     int64
	// Next says which stages may follow each; no other step is recorded.
	Next map[Stage][]Stage
}

// Progress is the ledger's first row.
type Progress struct {
	Stage   Stage
	Method  Method
	Reason  string        // of the method, for people
	Commit  pglogrepl.LSN // commit LSN of the last transaction that is applied
	Seen    pglogrepl.LSN // Commit, or the position of a later snapshot that a table was copied from
	Beat    int64         // number of the newest heartbeat that is applied
	Flushed pglogrepl.LSN // the source may have been told that everything before it is here; 0: nothing is known
	History capture.History
	DropSQL string // removes what the schema copy created
}

//go:embed ledger.sql
var createSQL string

const (
	existsSQL = `
SELECT
    pg_catalog.to_regclass('_pgmig.progress') IS NOT NULL,
    EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = pg_catalog.to_regclass('_pgmig.progress') AND attname = 'flushed_lsn')`

	// An earlier version of the service made the ledger.
	upgradeSQL = `ALTER TABLE _pgmig.progress ADD COLUMN IF NOT EXISTS flushed_lsn pg_lsn`

	takeOverSQL = `
UPDATE _pgmig.progress
SET epoch = $2
WHERE migration = $1 AND epoch <= $2
RETURNING stage, method, method_reason, commit_lsn::text,
    greatest(commit_lsn, (SELECT copy_lsn FROM _pgmig.tables ORDER BY copy_lsn DESC NULLS LAST LIMIT 1))::text,
    beat, coalesce(flushed_lsn, '0/0')::text, source_system, source_timeline, drop_statements`

	ownerSQL = `SELECT migration FROM _pgmig.progress`
)

// TakeOver raises the ledger's epoch to this worker's, so that no earlier worker can change the target any more, and gives
// the progress. StageNone means that there is no ledger yet. Errors: ErrTakenOver, ErrForeign.
func (l Ledger) TakeOver(ctx context.Context, db DB) (Progress, error) {
	var exists, current bool
	if err := db.QueryRow(ctx, existsSQL).Scan(&exists, &current); err != nil {
		return Progress{}, fmt.Errorf("looking for the ledger on the target: %w", err)
	}
	if !exists {
		return Progress{}, nil
	}
	if !current {
		if _, err := db.Exec(ctx, upgradeSQL); err != nil {
			return Progress{}, fmt.Errorf("bringing the ledger on the target up to date: %w", err)
		}
	}
	var (
		p                     Progress
		commit, seen, flushed string
	)
	err := db.QueryRow(ctx, takeOverSQL, l.Migration, l.Epoch).
		Scan(&p.Stage, &p.Method, &p.Reason, &commit, &seen, &p.Beat, &flushed, &p.History.System, &p.History.Timeline, &p.DropSQL)
	if errors.Is(err, pgx.ErrNoRows) {
		var owner string
		if err := db.QueryRow(ctx, ownerSQL).Scan(&owner); err == nil && owner != l.Migration {
			return Progress{}, ErrForeign
		}
		return Progress{}, ErrTakenOver
	}
	if err != nil {
		return Progress{}, fmt.Errorf("taking over the ledger on the target: %w", err)
	}
	if p.Commit, err = pglogrepl.ParseLSN(commit); err == nil {
		p.Seen, err = pglogrepl.ParseLSN(seen)
	}
	if err == nil {
		p.Flushed, err = pglogrepl.ParseLSN(flushed)
	}
	if err != nil {
		return Progress{}, fmt.Errorf("reading the ledger on the target: %w", err)
	}
	return p, nil
}

// Start is what a new ledger begins with.
type Start struct {
	Method      Method
	Reason      string          // of the method
	History     capture.History // of the source, unknown with the offline method
	Position    pglogrepl.LSN   // at which the changes begin; 0 with the offline method
	DropSQL     string          // removes what the schema copy creates
	Tables      []catalog.Table
	Fingerprint catalog.Fingerprint // of the source when its schema was copied
}

// Create makes the ledger, in the transaction that also stores the entries of the schema copy. The tables are all pending.
func (l Ledger) Create(ctx context.Context, tx pgx.Tx, start Start) error {
	if _, err := tx.Exec(ctx, createSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("creating the ledger on the target: %w", err)
	}
	const insert = `
INSERT INTO _pgmig.progress (migration, epoch, stage, method, method_reason, source_system, source_timeline, drop_statements, flushed_lsn)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::pg_lsn)`
	if _, err := tx.Exec(ctx, insert, l.Migration, l.Epoch, string(StageSchema), string(start.Method), start.Reason,
		start.History.System, start.History.Timeline, start.DropSQL, start.Position.String()); err != nil {
		return fmt.Errorf("creating the ledger on the target: %w", err)
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{Schema, "tables"}, []string{"relation", "schema_name", "table_name", "deferred"},
		pgx.CopyFromSlice(len(start.Tables), func(i int) ([]any, error) {
			t := start.Tables[i]
			return []any{t.OID, t.Schema, t.Name, t.Unlogged || start.Method == Offline}, nil
		}))
	if err != nil {
		return fmt.Errorf("writing the tables to the ledger: %w", err)
	}
	return storeFingerprint(ctx, tx, start.Fingerprint)
}

func storeFingerprint(ctx context.Context, tx pgx.Tx, fingerprint catalog.Fingerprint) error {
	objects := make([][]any, 0, len(fingerprint))
	for object, value := range fingerprint {
		objects = append(objects, []any{object, value})
	}
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{Schema, "fingerprint"}, []string{"object", "value"}, pgx.CopyFromRows(objects)); err != nil {
		return fmt.Errorf("writing the fingerprint to the ledger: %w", err)
	}
	return nil
}

// SchemaCarried records, in the transaction that changed the target's schema, that it is as the source's of this fingerprint.
func (l Ledger) SchemaCarried(ctx context.Context, tx pgx.Tx, dropSQL string, fingerprint catalog.Fingerprint) error {
	if err := l.CheckEpoch(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM _pgmig.fingerprint`); err != nil {
		return fmt.Errorf("replacing the fingerprint in the ledger: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE _pgmig.progress SET drop_statements = $1`, dropSQL); err != nil {
		return fmt.Errorf("recording in the ledger how the schema is dropped: %w", err)
	}
	return storeFingerprint(ctx, tx, fingerprint)
}

// Fingerprint gives the source's fingerprint as it was when the schema was copied.
func (l Ledger) Fingerprint(ctx context.Context, db DB) (catalog.Fingerprint, error) {
	rows, err := db.Query(ctx, `SELECT object, value FROM _pgmig.fingerprint`)
	if err != nil {
		return nil, fmt.Errorf("reading the fingerprint from the ledger: %w", err)
	}
	fingerprint := catalog.Fingerprint{}
	var object, value string
	if _, err := pgx.ForEachRow(rows, []any{&object, &value}, func() error {
		fingerprint[object] = value
		return nil
	}); err != nil {
		return nil, fmt.Errorf("reading the fingerprint from the ledger: %w", err)
	}
	return fingerprint, nil
}

// Table is one table's entry.
type Table struct {
	OID      uint32 // on the source
	Schema   string
	Name     string
	Deferred bool          // copied in the finalization, not replicated
	Copied   bool          // the initial copy is there
	CopyLSN  pglogrepl.LSN // of the snapshot it was copied from: changes that commit at or after it are applied
	Rows     int64
	Bytes    int64
}

// Tables gives all tables in the order of schema and name.
func (l Ledger) Tables(ctx context.Context, db DB) ([]Table, error) {
	const sql = `
SELECT relation, schema_name, table_name, deferred, copy_lsn IS NOT NULL, coalesce(copy_lsn, '0/0')::text, rows, bytes
FROM _pgmig.tables
ORDER BY schema_name, table_name`
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("reading the tables from the ledger: %w", err)
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		var lsn string
		if err := row.Scan(&t.OID, &t.Schema, &t.Name, &t.Deferred, &t.Copied, &lsn, &t.Rows, &t.Bytes); err != nil {
			return t, err
		}
		t.CopyLSN, err = pglogrepl.ParseLSN(lsn)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tables from the ledger: %w", err)
	}
	return tables, nil
}

// TableCopied records, in the transaction that copied it, that a table is copied from the snapshot at lsn.
func (l Ledger) TableCopied(ctx context.Context, tx DB, oid uint32, lsn pglogrepl.LSN, rows, bytes int64) error {
	const sql = `UPDATE _pgmig.tables SET copy_lsn = $2::text::pg_lsn, rows = $3, bytes = $4 WHERE relation = $1`
	if _, err := tx.Exec(ctx, sql, oid, lsn.String(), rows, bytes); err != nil {
		return fmt.Errorf("recording a copied table in the ledger: %w", err)
	}
	return l.CheckEpoch(ctx, tx)
}

// Rewritten records that the source truncated or rewrote a table, so that another snapshot is needed for its copy. A table
// of which that happens limit times is deferred from then on.
func (l Ledger) Rewritten(ctx context.Context, tx DB, oid uint32, limit int) (deferred bool, err error) {
	const sql = `
UPDATE _pgmig.tables
SET copy_lsn = NULL, rows = 0, bytes = 0, rewritten = rewritten + 1, deferred = deferred OR rewritten + 1 >= $2
WHERE relation = $1
RETURNING deferred`
	if err := tx.QueryRow(ctx, sql, oid, limit).Scan(&deferred); err != nil {
		return false, fmt.Errorf("recording in the ledger that a table was rewritten: %w", err)
	}
	return deferred, l.CheckEpoch(ctx, tx)
}

// CopyAgain records, in a transaction that also sets StageCopying, that a table is to be copied again, and gives how often
// that was so, this time included. The transaction has to be rolled back when it was too often.
func (l Ledger) CopyAgain(ctx context.Context, tx DB, oid uint32) (times int, err error) {
	const sql = `UPDATE _pgmig.tables SET copy_lsn = NULL, rows = 0, bytes = 0, again = again + 1 WHERE relation = $1 RETURNING again`
	if err := tx.QueryRow(ctx, sql, oid).Scan(&times); err != nil {
		return 0, fmt.Errorf("recording in the ledger that a table is to be copied again: %w", err)
	}
	return times, nil
}

// CheckEpoch holds the epoch's row against a worker that takes over until the transaction ends, and gives ErrTakenOver if
// one already did.
func (l Ledger) CheckEpoch(ctx context.Context, tx DB) error {
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM _pgmig.progress WHERE migration = $1 AND epoch = $2 FOR SHARE`, l.Migration, l.Epoch).Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrTakenOver
	}
	if err != nil {
		return fmt.Errorf("checking the epoch in the ledger: %w", err)
	}
	return nil
}

// SetStage records that the migration has gone from one stage to the next. Errors: *StageError, ErrTakenOver.
func (l Ledger) SetStage(ctx context.Context, tx DB, from, to Stage) error {
	if !slices.Contains(l.Next[from], to) {
		return &StageError{From: from, To: to}
	}
	const sql = `UPDATE _pgmig.progress SET stage = $4 WHERE migration = $1 AND epoch = $2 AND stage = $3`
	tag, err := tx.Exec(ctx, sql, l.Migration, l.Epoch, string(from), string(to))
	if err != nil {
		return fmt.Errorf("recording stage %q in the ledger: %w", to, err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	if err := l.CheckEpoch(ctx, tx); err != nil {
		return err
	}
	return &StageError{From: from, To: to}
}

// Drop removes the ledger, if it is there. Errors: ErrTakenOver, ErrForeign; then nothing is dropped.
func (l Ledger) Drop(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		progress, err := l.TakeOver(ctx, tx)
		if err != nil || progress.Stage == StageNone {
			return err
		}
		if _, err := tx.Exec(ctx, `DROP SCHEMA _pgmig CASCADE`); err != nil {
			return fmt.Errorf("dropping the ledger on the target: %w", err)
		}
		return nil
	})
}
