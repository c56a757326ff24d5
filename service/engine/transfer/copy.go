package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// copyAll copies with several workers.
func (t *transfer) copyAll(ctx context.Context) error {
	if len(t.parts) == 0 {
		t.indexing()
		return nil
	}
	t.job.Progress.CopyBegan()
	group, groupCtx := errgroup.WithContext(ctx)
	for range min(t.job.Settings.CopyWorkers, len(t.parts)) {
		group.Go(func() error { return t.copyParts(groupCtx) })
	}
	err := group.Wait()
	t.job.Progress.CopyEnded()
	if err != nil {
		return err
	}
	t.keeper.Close(ctx)
	t.indexing()
	return nil
}

// indexing sets the phase of an initial copy that is over. A finalization has no phases.
func (t *transfer) indexing() {
	if !t.job.Progress.Finalizing() {
		t.job.Enter(progress.Indexing)
	}
}

// copyParts copies parts until there are no more.
func (t *transfer) copyParts(ctx context.Context) error {
	source, err := t.sides.Source.Endpoint.Connect(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, source)
	if err := snapshot.Import(ctx, source, t.keeper.Name); err != nil {
		return err
	}
	target, err := t.connectBulk(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, target)
	for p := range t.parts {
		if p.table.rewritten.Load() {
			continue
		}
		err := snapshot.Unlocking(ctx, source, func() error { return t.copyPart(ctx, source, target, p) })
		if errors.Is(err, snapshot.ErrRewritten) {
			t.job.Log.Warn("a table waits for another snapshot", "error", err)
			if !p.table.rewritten.Swap(true) {
				t.rewritten <- err
				if err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error { return trust.NeedsSnapshot(ctx, t.job, tx, p.table.known.Catalog.OID) }); err != nil {
					return err
				}
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyPart copies one part in a transaction. With the last one the table is recorded as copied.
func (t *transfer) copyPart(ctx context.Context, source, target *pgx.Conn, p part) error {
	oid, count := p.table.known.Catalog.OID, p.table.known.Copied
	whole := p.piece.Whole()
	t.job.Progress.TableCopying(oid, whole)
	last := false
	err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
		if whole {
			if err := snapshot.Empty(ctx, tx, p.piece.Table); err != nil {
				return err
			}
		}
		rows, err := snapshot.Copy(ctx, source, tx, p.piece, whole, count)
		if err != nil {
			return err
		}
		p.table.rows.Add(rows)
		t.job.Reached(sent)
		if whole {
			last = true
			return t.job.Ledger.TableCopied(ctx, tx, oid, t.keeper.LSN, rows, count.Bytes.Load())
		}
		return t.job.Ledger.CheckEpoch(ctx, tx)
	})
	if err != nil {
		t.job.Progress.TableBrokenOff(oid)
		return err
	}
	if !whole && p.table.left.Add(-1) == 0 { // all parts are committed
		last = true
		err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
			return t.job.Ledger.TableCopied(ctx, tx, oid, t.keeper.LSN, p.table.rows.Load(), count.Bytes.Load())
		})
		if err != nil {
			return err
		}
	}
	t.job.Reached(copied)
	if last {
		t.job.Progress.TableCopied(oid, p.table.rows.Load())
		for _, w := range t.later[oid] {
			t.works <- w
		}
	}
	return nil
}

// bulkSQL sets a session up for copying and building indexes. A crash of the target may lose the newest commits, and the
// ledger's record of them with them: what is not recorded is done again. Memory is at least PostgreSQL's default: sorts with
// 512 MB took a quarter longer than with 64 MB, which are enough to sort some 10 GB of keys in one pass.
const bulkSQL = `
SELECT
    pg_catalog.set_config('synchronous_commit', 'off', false),
    pg_catalog.set_config('maintenance_work_mem', greatest(
        pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')), 64 << 20) / 1024 || 'kB', false)`

// connectBulk opens a session with the target for copying and building indexes.
func (t *transfer) connectBulk(ctx context.Context) (*pgx.Conn, error) {
	conn, err := t.sides.Target.Endpoint.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, bulkSQL); err != nil {
		database.Close(ctx, conn)
		return nil, fmt.Errorf("setting up a session for the copy: %w", err)
	}
	return conn, nil
}
