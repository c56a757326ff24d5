// Package state stores migrations in PostgreSQL: one row each, events, and sealed credentials.
package state

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Store is the state database. It is safe for concurrent use.
type Store struct {
	pool   *pgxpool.Pool
	sealer *Sealer
}

// Open connects, and brings the database's schema and River's up to date.
func Open(ctx context.Context, url string, sealer *Sealer) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the address of the state database cannot be understood") // pgx would show parts of it
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("preparing the connections to the state database: %w", err)
	}
	s := &Store{pool: pool, sealer: sealer}
	if err := s.update(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// Close ends all connections.
func (s *Store) Close() { s.pool.Close() }

// Pool gives the connections to the job queue, which lives in the same database.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Ping says whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("asking the state database: %w", err)
	}
	return nil
}

//go:embed schema/*.sql
var schemaFiles embed.FS

const (
	// updateLock is the advisory lock that keeps instances that start at the same moment from each other's way.
	updateLock = 0x70676d69 // "pgmi"
	// createLock is the one that puts creations in a row.
	createLock = updateLock + 1

	createVersionsSQL = `
CREATE TABLE IF NOT EXISTS schema_versions (
    version text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)`
)

// update brings the schema up to date while no other instance does. The lock is a session's: River's versions cannot be
// applied in one transaction before PostgreSQL 17, because one of them uses an enum's value that another one adds.
func (s *Store) update(ctx context.Context) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting to the state database: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", updateLock); err != nil {
		return fmt.Errorf("waiting for other instances that update the state database: %w", err)
	}
	defer func() {
		// A session that could not unlock must not go back to the others.
		if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", updateLock); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return applyVersions(ctx, tx) }); err != nil {
		return fmt.Errorf("updating the schema of the state database: %w", err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(s.pool), nil)
	if err != nil {
		return fmt.Errorf("preparing the schema of the job queue: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("updating the schema of the job queue: %w", err)
	}
	return nil
}

// applyVersions applies the files of schema/ that were not applied yet, in the order of their names.
func applyVersions(ctx context.Context, tx pgx.Tx) error {
	names, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(names)
	if _, err := tx.Exec(ctx, createVersionsSQL); err != nil {
		return err
	}
	for _, name := range names {
		tag, err := tx.Exec(ctx, "INSERT INTO schema_versions (version) VALUES ($1) ON CONFLICT DO NOTHING", name)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			continue
		}
		sql, err := schemaFiles.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(sql), pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("running %s: %w", name, err)
		}
	}
	return nil
}

// Errors that a caller decides on.
var (
	ErrNotFound    = errors.New("no such migration")
	ErrSourceTaken = errors.New("the source takes part in another migration")
	ErrTargetTaken = errors.New("the target takes part in another migration")
	ErrExists      = errors.New("the migration exists already")
	ErrLeaseLost   = errors.New("another worker holds the lease of the migration")
)

// Names are what the user calls the parts of a migration.
type Names struct {
	Org            string `json:"org"`
	Space          string `json:"space"`
	SourceInstance string `json:"source_service_instance_name"`
	SourceKey      string `json:"source_service_key_name"`
	TargetInstance string `json:"target_service_instance_name"`
	TargetKey      string `json:"target_service_key_name"`
}

// Migration is a row. Progress and failures are JSON, which the domain writes and reads; Totals knows two of its members.
type Migration struct {
	ID         string
	SourceGUID string
	TargetGUID string
	Names      Names
	Epoch      int64

	ReplicationStatus   string
	ReplicationFailure  []byte
	ReplicationProgress []byte
	CreatedAt           time.Time
	StartedAt           *time.Time
	FinishedAt          *time.Time

	FinalizationStatus     string // empty: there is none
	FinalizationFailure    []byte
	FinalizationProgress   []byte
	FinalizationStartedAt  *time.Time
	FinalizationFinishedAt *time.Time
	FinalizationCancelled  bool
	Opened                 bool

	RemovalRequested bool
	CleanTarget      bool
}

const (
	columns = `
    id, source_guid, target_guid, names, epoch,
    replication_status, replication_failure, replication_progress, created_at, started_at, finished_at,
    coalesce(finalization_status, ''), finalization_failure, finalization_progress, finalization_started_at, finalization_finished_at,
    finalization_cancelled, opened, removal_requested, clean_target`

	// The same without the progress, which is large where there are many tables.
	briefColumns = `
    id, source_guid, target_guid, names, epoch,
    replication_status, replication_failure, NULL, created_at, started_at, finished_at,
    coalesce(finalization_status, ''), finalization_failure, NULL, finalization_started_at, finalization_finished_at,
    finalization_cancelled, opened, removal_requested, clean_target`
)

func scan(row pgx.Row) (*Migration, error) {
	var m Migration
	err := row.Scan(&m.ID, &m.SourceGUID, &m.TargetGUID, &m.Names, &m.Epoch,
		&m.ReplicationStatus, &m.ReplicationFailure, &m.ReplicationProgress, &m.CreatedAt, &m.StartedAt, &m.FinishedAt,
		&m.FinalizationStatus, &m.FinalizationFailure, &m.FinalizationProgress, &m.FinalizationStartedAt, &m.FinalizationFinishedAt,
		&m.FinalizationCancelled, &m.Opened, &m.RemovalRequested, &m.CleanTarget)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading a migration: %w", err)
	}
	return &m, nil
}

// Find gives the migration from one instance to the other. Error: ErrNotFound.
func (s *Store) Find(ctx context.Context, sourceGUID, targetGUID string) (*Migration, error) {
	return scan(s.pool.QueryRow(ctx, `SELECT`+columns+` FROM migrations WHERE source_guid = $1 AND target_guid = $2`, sourceGUID, targetGUID))
}

// Get gives a migration by its ID. Error: ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (*Migration, error) {
	return scan(s.pool.QueryRow(ctx, `SELECT`+columns+` FROM migrations WHERE id = $1`, id))
}

// Brief is Get without the progress of replication and finalization.
func (s *Store) Brief(ctx context.Context, id string) (*Migration, error) {
	return scan(s.pool.QueryRow(ctx, `SELECT`+briefColumns+` FROM migrations WHERE id = $1`, id))
}

// InTx runs do in one transaction, which is rolled back when do fails.
func (s *Store) InTx(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, do)
}

// Create adds a migration with its credentials. Errors: ErrExists, ErrSourceTaken, ErrTargetTaken.
func (s *Store) Create(ctx context.Context, tx pgx.Tx, m *Migration, credentials []byte) error {
	sealed, err := s.sealer.seal(credentials, m.ID)
	if err != nil {
		return err
	}
	// One after the other: no index keeps an instance from being the source of one migration and the target of another.
	if err := s.exec(ctx, tx, "waiting for other creations", "SELECT pg_advisory_xact_lock($1)", createLock); err != nil {
		return err
	}
	var exists, sourceTaken, targetTaken bool
	const takenSQL = `
SELECT coalesce(bool_or(source_guid = $1 AND target_guid = $2), false),
       coalesce(bool_or($1 IN (source_guid, target_guid)), false),
       coalesce(bool_or($2 IN (source_guid, target_guid)), false)
FROM migrations`
	if err := tx.QueryRow(ctx, takenSQL, m.SourceGUID, m.TargetGUID).Scan(&exists, &sourceTaken, &targetTaken); err != nil {
		return fmt.Errorf("looking for other migrations: %w", err)
	}
	switch {
	case exists:
		return ErrExists
	case sourceTaken:
		return ErrSourceTaken
	case targetTaken:
		return ErrTargetTaken
	}
	const insertSQL = `
INSERT INTO migrations (id, source_guid, target_guid, names, replication_status, credentials)
VALUES ($1, $2, $3, $4, $5, $6)`
	return s.exec(ctx, tx, "storing migration "+m.ID, insertSQL, m.ID, m.SourceGUID, m.TargetGUID, m.Names, m.ReplicationStatus, sealed)
}

// Lock gives a migration and holds its row until tx ends. Error: ErrNotFound.
func (s *Store) Lock(ctx context.Context, tx pgx.Tx, sourceGUID, targetGUID string) (*Migration, error) {
	return scan(tx.QueryRow(ctx, `SELECT`+columns+` FROM migrations WHERE source_guid = $1 AND target_guid = $2 FOR UPDATE`, sourceGUID, targetGUID))
}

const finalizationSQL = `SELECT coalesce(finalization_status, '') FROM migrations WHERE id = $1`

// RequestFinalization stores a new finalization. Errors: ErrNotFound, *StatusError.
func (s *Store) RequestFinalization(ctx context.Context, tx pgx.Tx, id string, change Change) error {
	const sql = `
UPDATE migrations
SET finalization_status = $2, finalization_failure = NULL, finalization_progress = NULL, finalization_cancelled = false,
    finalization_started_at = now(), finalization_finished_at = NULL
WHERE id = $1 AND coalesce(finalization_status, '') = ANY($3)`
	return exchange(ctx, tx, "requesting a finalization", sql, finalizationSQL, []any{id}, change.To, change.From)
}

// CancelFinalization asks the worker to give the finalization up.
func (s *Store) CancelFinalization(ctx context.Context, tx pgx.Tx, id string) error {
	return s.exec(ctx, tx, "cancelling a finalization", `UPDATE migrations SET finalization_cancelled = true WHERE id = $1`, id)
}

// noFinalization is what is set where there is no finalization.
const noFinalization = `
    finalization_status = NULL, finalization_failure = NULL, finalization_progress = NULL, finalization_cancelled = false,
    finalization_started_at = NULL, finalization_finished_at = NULL`

// DropFinalization removes a finalization that no worker is at, if it has one of the statuses given. Errors: ErrNotFound,
// *StatusError.
func (s *Store) DropFinalization(ctx context.Context, tx pgx.Tx, id string, from []string) error {
	const sql = `UPDATE migrations SET` + noFinalization + ` WHERE id = $1 AND coalesce(finalization_status, '') = ANY($2)`
	return exchange(ctx, tx, "removing a finalization", sql, finalizationSQL, []any{id}, from)
}

// RequestRemoval asks the worker to remove the migration.
func (s *Store) RequestRemoval(ctx context.Context, tx pgx.Tx, id string, cleanTarget bool) error {
	const sql = `UPDATE migrations SET removal_requested = true, clean_target = clean_target OR $2, queued_at = now() WHERE id = $1`
	return s.exec(ctx, tx, "requesting a removal", sql, id, cleanTarget)
}

// SaveCredentials replaces the credentials and the names of a migration with one of the statuses given. The others need none
// any more; theirs come back only for a removal.
func (s *Store) SaveCredentials(ctx context.Context, id string, names Names, credentials []byte, statuses []string, removal bool) error {
	sealed, err := s.sealer.seal(credentials, id)
	if err != nil {
		return err
	}
	// The row decides, and not what the caller has read of it before: the migration may have ended since then.
	const sql = `
UPDATE migrations
SET credentials = $2, names = $3
WHERE id = $1 AND (replication_status = ANY($5) OR removal_requested OR $4)`
	return s.exec(ctx, s.pool, "storing credentials", sql, id, sealed, names, removal, statuses)
}

// Credentials opens the credentials. Error: ErrNotFound when there are none.
func (s *Store) Credentials(ctx context.Context, id string) ([]byte, error) {
	var sealed []byte
	err := s.pool.QueryRow(ctx, `SELECT credentials FROM migrations WHERE id = $1`, id).Scan(&sealed)
	if errors.Is(err, pgx.ErrNoRows) || (err == nil && sealed == nil) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading the credentials of migration %s: %w", id, err)
	}
	return s.sealer.open(sealed, id)
}

// AddEvent appends what happened; detail holds no secret.
func (s *Store) AddEvent(ctx context.Context, db DB, id, event, detail string) error {
	return s.exec(ctx, db, "storing an event", `INSERT INTO events (migration_id, event, detail) VALUES ($1, $2, $3)`, id, event, detail)
}

func (s *Store) exec(ctx context.Context, db DB, doing, sql string, args ...any) error {
	if _, err := db.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
