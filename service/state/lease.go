package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Lease is a worker's right to work on a migration. Every change that the worker stores is stored only while it holds.
type Lease struct {
	store *Store
	id    string
	owner string
	epoch int64
}

// TakeLease takes the lease of a migration for the time given, if nobody holds it, and counts the epoch up. Errors:
// ErrLeaseLost, ErrNotFound.
func (s *Store) TakeLease(ctx context.Context, id, owner string, length time.Duration) (*Lease, *Migration, error) {
	const sql = `
UPDATE migrations
SET lease_owner = $2, lease_until = now() + $3::interval, epoch = epoch + 1
WHERE id = $1 AND (lease_until IS NULL OR lease_until < now())
RETURNING` + columns
	m, err := scan(s.pool.QueryRow(ctx, sql, id, owner, length))
	if errors.Is(err, ErrNotFound) {
		if _, err := s.Get(ctx, id); err != nil {
			return nil, nil, err
		}
		return nil, nil, ErrLeaseLost
	}
	if err != nil {
		return nil, nil, err
	}
	return &Lease{store: s, id: id, owner: owner, epoch: m.Epoch}, m, nil
}

// Renew extends the lease. Error: ErrLeaseLost.
func (l *Lease) Renew(ctx context.Context, length time.Duration) error {
	return l.update(ctx, "renewing the lease", `lease_until = now() + $4::interval`, length)
}

// Release gives the lease back.
func (l *Lease) Release(ctx context.Context) error {
	return l.update(ctx, "releasing the lease", `lease_until = NULL, lease_owner = NULL, queued_at = now() - interval '1 hour'`)
}

// held finds the row as long as the lease holds.
const held = `
WHERE id = $1 AND lease_owner = $2 AND epoch = $3`

const (
	heldReplicationSQL  = `SELECT replication_status FROM migrations` + held
	heldFinalizationSQL = `SELECT coalesce(finalization_status, '') FROM migrations` + held
)

// SaveReplication stores how the replication stands; failure and progress are JSON, nil for none. Errors: ErrLeaseLost,
// *StatusError.
func (l *Lease) SaveReplication(ctx context.Context, change Change, failure, progress []byte) error {
	const sql = `
UPDATE migrations
SET replication_status = $4, replication_failure = $5, replication_progress = coalesce($6, replication_progress),
    started_at = coalesce(started_at, now()),
    finished_at = CASE WHEN $7 THEN coalesce(finished_at, now()) END,
    finalization_failure = CASE WHEN finalization_status = ANY($8) THEN $5 ELSE finalization_failure END,
    finalization_finished_at = CASE WHEN finalization_status = ANY($8) THEN now() ELSE finalization_finished_at END,
    finalization_status = CASE WHEN finalization_status = ANY($8) THEN $4 ELSE finalization_status END` + held + `
  AND replication_status = ANY($9)`
	return l.exchange(ctx, "storing the progress of a replication", sql, heldReplicationSQL,
		change.To, failure, progress, change.Ended, change.Takes, change.From)
}

// SaveFinalization stores how the finalization stands; failure and progress are JSON, nil for none. Errors: ErrLeaseLost,
// *StatusError.
func (l *Lease) SaveFinalization(ctx context.Context, change Change, failure, progress []byte) error {
	const sql = `
UPDATE migrations
SET finalization_status = $4, finalization_failure = $5, finalization_progress = coalesce($6, finalization_progress),
    finalization_finished_at = CASE WHEN $7 THEN coalesce(finalization_finished_at, now()) END` + held + `
  AND coalesce(finalization_status, '') = ANY($8)`
	return l.exchange(ctx, "storing the progress of a finalization", sql, heldFinalizationSQL,
		change.To, failure, progress, change.Ended, change.From)
}

// AmendFinalization stores the progress of a finalization with the status given, and nothing when it has another one since
// then: it was removed, or another one was asked for.
func (l *Lease) AmendFinalization(ctx context.Context, status string, progress []byte) error {
	const sql = `UPDATE migrations SET finalization_progress = $4` + held + ` AND finalization_status = $5`
	return l.store.exec(ctx, l.store.pool, "storing the progress of a finalization", sql, l.id, l.owner, l.epoch, progress, status)
}

// ForgetFinalization removes a finalization that the user has given up, and none that was asked for since then, if it has one
// of the statuses given. Errors: ErrLeaseLost, *StatusError.
func (l *Lease) ForgetFinalization(ctx context.Context, from []string) error {
	const sql = `UPDATE migrations SET` + noFinalization + held + ` AND finalization_cancelled AND coalesce(finalization_status, '') = ANY($4)`
	err := l.exchange(ctx, "removing a finalization", sql, heldFinalizationSQL, from)
	var other *StatusError
	if errors.As(err, &other) && slices.Contains(from, other.Found) {
		return nil // it could go, but nobody has given it up
	}
	return err
}

// Credentials opens the credentials of the migration, for the one who holds the lease. Errors: ErrLeaseLost, ErrNotFound when
// there are none.
func (l *Lease) Credentials(ctx context.Context) ([]byte, error) {
	const sql = `SELECT credentials FROM migrations WHERE id = $1 AND lease_owner = $2 AND epoch = $3`
	var sealed []byte
	err := l.store.pool.QueryRow(ctx, sql, l.id, l.owner, l.epoch).Scan(&sealed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrLeaseLost
	case err != nil:
		return nil, fmt.Errorf("reading the credentials of migration %s: %w", l.id, err)
	case sealed == nil:
		return nil, ErrNotFound
	}
	return l.store.sealer.open(sealed, l.id)
}

// SaveOpened stores that the target is the truth.
func (l *Lease) SaveOpened(ctx context.Context) error {
	return l.update(ctx, "storing the opening", `opened = true`)
}

// ForgetCredentials removes the credentials of a migration that has ended.
func (l *Lease) ForgetCredentials(ctx context.Context) error {
	return l.update(ctx, "removing credentials", `credentials = NULL`)
}

// Delete removes the migration.
func (l *Lease) Delete(ctx context.Context) error {
	const sql = `DELETE FROM migrations` + held
	tag, err := l.store.pool.Exec(ctx, sql, l.id, l.owner, l.epoch)
	if err != nil {
		return fmt.Errorf("deleting migration %s: %w", l.id, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLeaseLost
	}
	return nil
}

func (l *Lease) exchange(ctx context.Context, doing, sql, foundSQL string, args ...any) error {
	err := exchange(ctx, l.store.pool, doing+" of migration "+l.id, sql, foundSQL, []any{l.id, l.owner, l.epoch}, args...)
	if errors.Is(err, ErrNotFound) {
		return ErrLeaseLost
	}
	return err
}

func (l *Lease) update(ctx context.Context, doing, set string, args ...any) error {
	sql := "UPDATE migrations SET " + set + held
	tag, err := l.store.pool.Exec(ctx, sql, append([]any{l.id, l.owner, l.epoch}, args...)...)
	if err != nil {
		return fmt.Errorf("%s of migration %s: %w", doing, l.id, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLeaseLost
	}
	return nil
}

// Orphans calls queue, in one transaction, for every migration that has work to be done and no worker: the worker died, or
// its job was lost. There is work in the statuses given, and while a removal is asked for. A migration is given once in the
// time again.
func (s *Store) Orphans(ctx context.Context, statuses []string, again time.Duration, queue func(ctx context.Context, tx pgx.Tx, id string) error) (int, error) {
	const sql = `
UPDATE migrations
SET queued_at = now()
WHERE id IN (
    SELECT id
    FROM migrations
    WHERE (removal_requested OR replication_status = ANY($2))
      AND (lease_until IS NULL OR lease_until < now())
      AND queued_at < now() - $1::interval
    FOR UPDATE SKIP LOCKED)
RETURNING id`
	found := 0
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sql, again, statuses)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := queue(ctx, tx, id); err != nil {
				return err
			}
		}
		found = len(ids)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("looking for migrations without a worker: %w", err)
	}
	return found, nil
}

// Totals are what all migrations are together.
type Totals struct {
	ByStatus    map[string]int // migrations by the status of their replication
	CopiedBytes int64
	LagBytes    int64 // of the one that is the farthest behind
}

// Totals counts the migrations.
func (s *Store) Totals(ctx context.Context) (Totals, error) {
	const sql = `
SELECT replication_status, count(*),
       coalesce(sum((replication_progress ->> 'bytes_copied')::bigint), 0)::bigint,
       coalesce(max((replication_progress ->> 'lag_bytes')::bigint), 0)
FROM migrations
GROUP BY replication_status`
	totals := Totals{ByStatus: map[string]int{}}
	rows, err := s.pool.Query(ctx, sql)
	if err != nil {
		return totals, fmt.Errorf("counting migrations: %w", err)
	}
	var (
		status      string
		n           int
		copied, lag int64
	)
	if _, err := pgx.ForEachRow(rows, []any{&status, &n, &copied, &lag}, func() error {
		totals.ByStatus[status] = n
		totals.CopiedBytes += copied
		totals.LagBytes = max(totals.LagBytes, lag)
		return nil
	}); err != nil {
		return totals, fmt.Errorf("counting migrations: %w", err)
	}
	return totals, nil
}
