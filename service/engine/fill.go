package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
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
		}
		s.table, s.deferred = t, e.Deferred
		switch {
		case e.Deferred:
			s.phase, s.done = TableDeferred, false
			s.copied.Rows.Store(0)
			s.copied.Bytes.Store(0)
		case e.Copied:
			s.done = true
			s.copied.Rows.Store(e.Rows)
			s.copied.Bytes.Store(e.Bytes)
		default:
			s.phase, s.done = TablePending, false
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
			if failure := AsFailure(err); failure != nil && failure.Code == CodeTimeout {
				return fmt.Errorf("taking another snapshot: %w", errNoMoment) // the migration has begun: it waits
			}
			if err != nil {
				return err
			}
		}
		a.adopt(from.tables)
	}
	var keeper *snapshot.Keeper
	if from != nil {
		keeper = from.Keeper
	}
	if err := a.transfer(ctx, keeper, pending); err != nil {
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
			if s.done { // what it was copied from, so that a later rewrite shows
				t.Filenode = s.table.Filenode
			}
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
