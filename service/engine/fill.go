package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// loadTables reads the tables from the ledger and the source, and keeps the counters of a table that is known already.
func (a *attempt) loadTables(ctx context.Context) error {
	entries, err := a.ledger.Tables(ctx, a.target)
	if err != nil {
		return err
	}
	tables, err := a.readTables(ctx, a.source)
	if err != nil {
		return err
	}
	byOID := make(map[uint32]catalog.Table, len(tables))
	for _, t := range tables {
		byOID[t.OID] = t
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range entries {
		t, found := byOID[e.OID]
		if !found {
			return &Failure{
				Code:    CodeSchemaChanged,
				Message: fmt.Sprintf("The schema of the source was changed during the replication: table %s.%s is gone", e.Schema, e.Name),
				Hint:    startAgain,
			}
		}
		s := a.tables[e.OID]
		if s == nil {
			s = &tableState{phase: TablePending, validation: NotValidated}
			a.tables[e.OID] = s
			if e.Copied {
				a.carried += e.Bytes
			}
		}
		s.table = t
		switch {
		case e.Deferred:
			s.phase = TableDeferred
		case e.Copied:
			s.done = true
			s.copied.Rows.Store(e.Rows)
			s.copied.Bytes.Store(e.Bytes)
		default:
			s.phase = TablePending
			s.copied.Rows.Store(0)
			s.copied.Bytes.Store(0)
		}
	}
	return nil
}

// fill copies what is not copied yet and builds the indexes. from holds the slot's own snapshot; without it a later one is
// taken, and the tables copied from it take part in the stream from its LSN on.
func (a *attempt) fill(ctx context.Context, from *base) error {
	defer func() {
		if from != nil {
			from.Close(ctx)
		}
	}()
	if err := a.loadTables(ctx); err != nil {
		return err
	}
	pending, err := a.pending(ctx)
	if err != nil {
		return err
	}
	if len(pending) > 0 {
		a.setPhase(PhaseCopying)
		if from == nil {
			from, err = a.takeSnapshot(ctx, func(ctx context.Context, replication *pgconn.PgConn) (capture.Point, error) {
				return capture.CreateTemporarySlot(ctx, replication, a.migration.ID, "copy")
			})
			if err != nil {
				return err
			}
		}
		a.adopt(from.tables)
		if err := a.copyTables(ctx, from.Keeper, pending); err != nil {
			return err
		}
	}
	if from != nil {
		from.Close(ctx) // frees the source's horizon for VACUUM before the indexes are built
		from = nil
	}
	a.setPhase(PhaseIndexing)
	if err := a.buildIndexes(ctx); err != nil {
		return err
	}
	return a.ledger.SetStage(ctx, a.target, ledger.StageStream)
}

// adopt takes over the tables as they were when a snapshot was taken: their filenodes are what a copy is checked against.
func (a *attempt) adopt(tables []catalog.Table) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range tables {
		if s := a.tables[t.OID]; s != nil {
			s.table = t
		}
	}
}

// pending gives the OIDs of the tables that are to be copied, the largest first.
func (a *attempt) pending(ctx context.Context) ([]uint32, error) {
	entries, err := a.ledger.Tables(ctx, a.target)
	if err != nil {
		return nil, err
	}
	var oids []uint32
	for _, e := range entries {
		if !e.Copied && !e.Deferred {
			oids = append(oids, e.OID)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.SortStableFunc(oids, func(x, y uint32) int { return cmp.Compare(a.tables[y].table.Bytes, a.tables[x].table.Bytes) })
	return oids, nil
}

// copyTables copies with several workers. A table that was rewritten meanwhile is left out; the others are not thrown away
// for it, and the next attempt copies it from a new snapshot.
func (a *attempt) copyTables(ctx context.Context, keeper *snapshot.Keeper, oids []uint32) error {
	a.mu.Lock()
	a.copyFrom, a.copyTo = time.Now(), time.Time{}
	a.mu.Unlock()
	queue := make(chan uint32, len(oids))
	for _, oid := range oids {
		queue <- oid
	}
	close(queue)
	rewritten := make(chan error, len(oids))
	group, groupCtx := errgroup.WithContext(ctx)
	for range min(a.engine.Settings.CopyWorkers, len(oids)) {
		group.Go(func() error { return a.copyQueue(groupCtx, keeper, queue, rewritten) })
	}
	err := group.Wait()
	a.mu.Lock()
	a.copyTo = time.Now()
	a.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-rewritten:
		return err
	default:
		return nil
	}
}

func (a *attempt) copyQueue(ctx context.Context, keeper *snapshot.Keeper, queue <-chan uint32, rewritten chan<- error) error {
	source, err := a.from.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, source)
	if err := snapshot.Import(ctx, source, keeper.Name); err != nil {
		return err
	}
	target, err := a.to.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, target)
	for oid := range queue {
		err := a.copyTable(ctx, keeper, source, target, oid)
		if errors.Is(err, snapshot.ErrRewritten) {
			a.log.Warn("a table waits for another snapshot", "error", err)
			rewritten <- err
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) copyTable(ctx context.Context, keeper *snapshot.Keeper, source, target *pgx.Conn, oid uint32) error {
	a.mu.Lock()
	s := a.tables[oid]
	s.phase = TableCopying
	a.mu.Unlock()
	s.copied.Rows.Store(0)
	s.copied.Bytes.Store(0)
	err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
		rows, err := snapshot.Table(ctx, source, tx, s.table, &s.copied)
		if err != nil {
			return err
		}
		s.copied.Rows.Store(rows)
		return a.ledger.TableCopied(ctx, tx, oid, keeper.LSN, rows, s.copied.Bytes.Load())
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		s.phase = TablePending
		return err
	}
	s.phase, s.done = TableIndexing, true
	return nil
}

// buildIndexes creates the indexes and key constraints, several at once, attaches those of partitions, and gathers statistics.
func (a *attempt) buildIndexes(ctx context.Context) error {
	entries, err := schema.Pending(ctx, a.target, schema.Indexes)
	if err != nil {
		return err
	}
	err = inParallel(ctx, a.to, a.engine.Settings.IndexWorkers, entries, func(ctx context.Context, conn *pgx.Conn, e schema.Stored) error {
		return a.createEntry(ctx, conn, e)
	})
	if err != nil {
		return err
	}
	if entries, err = schema.Pending(ctx, a.target, schema.Attachments); err != nil {
		return err
	}
	for _, e := range entries {
		if err := a.createEntry(ctx, a.target, e); err != nil {
			return err
		}
	}
	a.mu.Lock()
	var tables []catalog.Table
	for _, s := range a.tables {
		tables = append(tables, s.table)
	}
	a.mu.Unlock()
	return inParallel(ctx, a.to, a.engine.Settings.IndexWorkers, tables, func(ctx context.Context, conn *pgx.Conn, t catalog.Table) error {
		if _, err := conn.Exec(ctx, "ANALYZE "+t.SQLName()); err != nil {
			return fmt.Errorf("gathering statistics of table %s on the target: %w", t, err)
		}
		return nil
	})
}

func (a *attempt) createEntry(ctx context.Context, conn *pgx.Conn, e schema.Stored) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := schema.CreateStored(ctx, tx, e); err != nil {
			return err
		}
		return a.ledger.CheckEpoch(ctx, tx)
	})
	if err != nil {
		return schemaFailure(ctx, err)
	}
	return nil
}

// inParallel calls do for each item, on workers sessions with the target.
func inParallel[T any](ctx context.Context, target endpoint, workers int, items []T, do func(context.Context, *pgx.Conn, T) error) error {
	queue := make(chan T, len(items))
	for _, item := range items {
		queue <- item
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	for range min(workers, len(items)) {
		group.Go(func() error {
			conn, err := target.Connect(ctx)
			if err != nil {
				return err
			}
			defer closeConn(ctx, conn)
			for item := range queue {
				if err := do(ctx, conn, item); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
