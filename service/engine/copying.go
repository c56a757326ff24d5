package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/transfer"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// copy is the stage in which rows are copied that are not there yet, and indexes are built. A method that defers everything has
// nothing to do here: its indexes come after the rows, too.
func (a *attempt) copy(ctx context.Context) (ledger.Stage, error) {
	if !a.method.Deferred() {
		if err := a.method.While(ctx, a.fill); err != nil {
			return "", err
		}
	}
	a.letGo(ctx) // of a snapshot that nobody has copied from
	return a.pass(ctx, ledger.StageCopying, ledger.StageStream)
}

// fill copies from the first snapshot. Without it a later one is taken, and the tables copied from it take part in the stream from
// its position on.
func (a *attempt) fill(ctx context.Context) error {
	if err := a.job.ReadTables(ctx, a.sides, false); err != nil {
		return err
	}
	var pending []progress.Table
	for _, t := range a.job.Progress.Tables() {
		if !t.Complete && !t.Deferred {
			pending = append(pending, t)
		}
	}
	var keeper *snapshot.Keeper
	if len(pending) > 0 {
		if err := a.anchorAgain(ctx); err != nil {
			return err
		}
		a.job.Progress.SnapshotTaken(a.anchor.Tables)
		keeper = a.anchor.Keeper
	}
	slices.SortStableFunc(pending, func(x, y progress.Table) int { return cmp.Compare(y.Catalog.Bytes, x.Catalog.Bytes) })
	oids := make([]uint32, len(pending))
	for i, t := range pending {
		oids[i] = t.Catalog.OID
	}
	return transfer.Tables(ctx, a.job, a.sides, transfer.Order{Keeper: keeper, OIDs: oids, Families: true})
}

// anchorAgain makes sure that there is a snapshot to copy from.
func (a *attempt) anchorAgain(ctx context.Context) (err error) {
	if a.anchor != nil {
		return nil
	}
	a.anchor, err = a.method.AnchorAgain(ctx)
	if f := failure.Of(err); f != nil && f.Code == failure.Timeout {
		return fmt.Errorf("taking another snapshot: %w", trust.ErrNoMoment) // the migration has begun: it waits
	}
	return err
}
