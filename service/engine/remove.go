package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
)

// Remove takes away everything that the migration left on the source (fence, slot, publication, replica identities,
// schema) and, with cleanTarget, what it created on the target. It is idempotent. No Replication of m may be running.
// A target that cannot be reached is an error only with cleanTarget.
func (e *Engine) Remove(ctx context.Context, m Migration, cleanTarget bool) error {
	j := e.newJob(m)
	from, to, err := j.Endpoints(ctx)
	if err != nil {
		return err
	}
	targetErr := removeFromTarget(ctx, j, to, cleanTarget)
	if targetErr != nil && !cleanTarget && !errors.Is(targetErr, ledger.ErrTakenOver) {
		j.Log.Warn("the ledger on the target could not be removed", "error", targetErr)
		targetErr = nil
	}
	return errors.Join(removeFromSource(ctx, j, from), targetErr)
}

func removeFromSource(ctx context.Context, j *job.Job, from database.Endpoint) error {
	if err := releaseSource(ctx, j, from); err != nil {
		return err
	}
	conn, err := from.Connect(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, conn)
	return j.Capture(conn).DropSchema(ctx)
}

// removeFromTarget removes the ledger and, if asked, what the schema copy created. A target that was opened is the truth,
// and nothing of it is dropped any more.
func removeFromTarget(ctx context.Context, j *job.Job, to database.Endpoint, clean bool) error {
	conn, err := to.Connect(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, conn)
	progress, err := j.Ledger.TakeOver(ctx, conn)
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
		err := schema.Drop(ctx, conn, progress.DropSQL, func(tx pgx.Tx) error { return j.Ledger.CheckEpoch(ctx, tx) })
		if err != nil {
			return fmt.Errorf("dropping from the target what the replication created there: %w", err)
		}
	}
	return j.Ledger.Drop(ctx, conn)
}
