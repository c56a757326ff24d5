package state

import (
	"context"
	"errors"
	"fmt"
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

// SaveReplication stores how the replication stands; failure and progress are JSON, nil for none. A replication that has
// failed takes the finalization with it that was asked for or at work.
func (l *Lease) SaveReplication(ctx context.Context, status string, failure, progress []byte) error {
	return l.update(ctx, "storing the progress of a replication",
		`replication_status = $4, replication_failure = $5, replication_progress = coalesce($6, replication_progress),
    started_at = coalesce(started_at, now()),
    finished_at = CASE WHEN $4 IN ('FAILED', 'COMPLETED') THEN coalesce(finished_at, now()) END,
    finalization_failure = CASE WHEN $4 = 'FAILED' AND finalization_status IN ('WAITING', 'RUNNING') THEN $5 ELSE finalization_failure END,
    finalization_finished_at = CASE WHEN $4 = 'FAILED' AND finalization_status IN ('WAITING', 'RUNNING') THEN now() ELSE finalization_finished_at END,
    finalization_status = CASE WHEN $4 = 'FAILED' AND finalization_status IN ('WAITING', 'RUNNING') THEN 'FAILED' ELSE finalization_status END`,
		status, failure, progress)
}

// SaveFinalization stores how the finalization stands; failure and progress are JSON, nil for none.
func (l *Lease) SaveFinalization(ctx context.Context, status string, failure, progress []byte) error {
	return l.update(ctx, "storing the progress of a finalization",
		`finalization_status = $4, finalization_failure = $5, finalization_progress = coalesce($6, finalization_progress),
    finalization_finished_at = CASE WHEN $4 IN ('FAILED', 'COMPLETED') THEN coalesce(finalization_finished_at, now()) END`,
		status, failure, progress)
}

// AmendFinalization stores the progress of a finalization that has failed, and nothing when it was removed or another one was
// asked for since then.
func (l *Lease) AmendFinalization(ctx context.Context, progress []byte) error {
	const sql = `
UPDATE migrations
SET finalization_progress = $4
WHERE id = $1 AND lease_owner = $2 AND epoch = $3 AND finalization_status = 'FAILED'`
	return l.store.exec(ctx, l.store.pool, "storing the progress of a finalization", sql, l.id, l.owner, l.epoch, progress)
}

// ForgetFinalization removes a finalization that the user has given up, and none that was asked for since then.
func (l *Lease) ForgetFinalization(ctx context.Context) error {
	const sql = `
UPDATE migrations
SET finalization_status = NULL, finalization_failure = NULL, finalization_progress = NULL, finalization_cancelled = false,
    finalization_started_at = NULL, finalization_finished_at = NULL
WHERE id = $1 AND lease_owner = $2 AND epoch = $3 AND finalization_cancelled`
	return l.store.exec(ctx, l.store.pool, "removing a finalization", sql, l.id, l.owner, l.epoch)
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
	const sql = `DELETE FROM migrations WHERE id = $1 AND lease_owner = $2 AND epoch = $3`
	tag, err := l.store.pool.Exec(ctx, sql, l.id, l.owner, l.epoch)
	if err != nil {
		return fmt.Errorf("deleting migration %s: %w", l.id, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLeaseLost
	}
	return nil
}

func (l *Lease) update(ctx context.Context, what, set string, args ...any) error {
	sql := "UPDATE migrations SET " + set + " WHERE id = $1 AND lease_owner = $2 AND epoch = $3"
	tag, err := l.store.pool.Exec(ctx, sql, append([]any{l.id, l.owner, l.epoch}, args...)...)
	if err != nil {
		return fmt.Errorf("%s of migration %s: %w", what, l.id, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLeaseLost
	}
	return nil
}

// Orphans calls queue, in one transaction, for every migration that has work to be done and no worker: the worker died, or
// its job was lost. A migration is given once in the time again.
func (s *Store) Orphans(ctx context.Context, again time.Duration, queue func(ctx context.Context, tx pgx.Tx, id string) error) (int, error) {
	const sql = `
UPDATE migrations
SET queued_at = now()
WHERE id IN (
    SELECT id
    FROM migrations
    WHERE (removal_requested OR replication_status IN ('WAITING', 'RUNNING', 'IN-SYNC'))
      AND (lease_until IS NULL OR lease_until < now())
      AND queued_at < now() - $1::interval
    FOR UPDATE SKIP LOCKED)
RETURNING id`
	found := 0
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sql, again)
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
