package engine

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// release is the stage in which the target is the truth already: an earlier cutover could not know, or tell, that it was opened.
func (a *attempt) release(ctx context.Context) (ledger.Stage, error) {
	a.job.Progress.Unfenced()
	err := cutover.Release(ctx, a.job, a.sides, a.method, a.job.Fence(a.sides.Source.Endpoint))
	return ledger.StageDone, err
}

// releaseSource takes everything away from the source but our records.
func releaseSource(ctx context.Context, j *job.Job, from database.Endpoint) error {
	conn, err := from.Connect(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, conn)
	source := j.Capture(conn)
	if err := database.EndEarlier(ctx, conn, j.ID, j.Epoch); err != nil {
		return err
	}
	if err := source.TakeOver(ctx); err != nil {
		return err
	}
	f := j.Fence(from)
	if err := f.Lift(ctx, conn); err != nil {
		return err
	}
	if err := source.DropSlot(ctx, from.ConnectReplication); err != nil {
		return err
	}
	return source.Unpublish(ctx)
}
