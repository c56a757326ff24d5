package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
)

// Remove takes away everything that the migration left on the source (fence, slot, publication, replica identities,
// schema) and, with cleanTarget, what it created on the target. It is idempotent. No Replication of m may be running.
// A target that cannot be reached is an error only with cleanTarget.
func (e *Engine) Remove(ctx context.Context, m Migration, cleanTarget bool) error {
	r := e.NewReplication(m)
	from, to, err := r.job.Endpoints(ctx)
	if err != nil {
		return err
	}
	targetErr := r.removeFromTarget(ctx, to, cleanTarget)
	if targetErr != nil && !cleanTarget && !errors.Is(targetErr, ledger.ErrTakenOver) {
		r.job.Log.Warn("the ledger on the target could not be removed", "error", targetErr)
		targetErr = nil
	}
	return errors.Join(r.removeFromSource(ctx, from), targetErr)
}

func (r *Replication) removeFromSource(ctx context.Context, from database.Endpoint) error {
	conn, err := from.Connect(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, conn)
	source := r.job.Capture(conn)
	f := r.job.Fence(from)
	if err := f.Lift(ctx, conn); err != nil {
		return err
	}
	if err := source.DropSlot(ctx, from.ConnectReplication); err != nil {
		return err
	}
	if err := source.Unpublish(ctx); err != nil {
		return err
	}
	return source.DropSchema(ctx)
}

// removeFromTarget removes the ledger and, if asked, what the schema copy created. A target that was opened is the truth,
// and nothing of it is dropped any more.
func (r *Replication) removeFromTarget(ctx context.Context, to database.Endpoint, clean bool) error {
	conn, err := to.Connect(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, conn)
	progress, err := r.job.Ledger.TakeOver(ctx, conn)
	switch {
	case errors.Is(err, ledger.ErrForeign):
		return nil
	case err != nil:
		return err
	case progress.Stage == ledger.StageNone:
		return nil
	}
	if clean && progress.Stage != ledger.StageOpened {
		if err := largeobject.Remove(ctx, conn); err != nil {
			return err
		}
	}
	if clean && progress.Stage != ledger.StageOpened {
		err := schema.Drop(ctx, conn, progress.DropSQL, func(tx pgx.Tx) error { return r.job.Ledger.CheckEpoch(ctx, tx) })
		if err != nil {
			return fmt.Errorf("dropping from the target what the replication created there: %w", err)
		}
	}
	return r.job.Ledger.Drop(ctx, conn)
}
