package cutover

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// Large objects are carried in the finalization: most of them before the fence, the difference under it. No lock keeps them
// from being written, and only from PostgreSQL 16 on does a transaction that is read-only by default. So the sessions are
// ended, write transactions are waited for, and the last thing before the opening is to verify them.

func (c *Cutover) largeObjects() largeobject.Sides {
	return largeobject.Sides{
		Source:     c.Source.Connect,
		Target:     c.Target.Connect,
		CheckEpoch: func(ctx context.Context, tx pgx.Tx) error { return c.Job.Ledger.CheckEpoch(ctx, tx) },
		Workers:    c.Job.Settings.CopyWorkers,
	}
}

// copyLargeObjects brings both sides together; under the fence for the last time.
func (c *Cutover) copyLargeObjects(ctx context.Context) error {
	if c.at == Fenced {
		if err := c.fence.AwaitWriters(ctx, c.sides.Source.Conn, c.Job.Settings.FenceWait); err != nil {
			return err
		}
	}
	return c.largeObjects().Copy(ctx)
}

// verifyLargeObjects makes sure that they are the same on both sides. It comes directly before the opening, and shows writers that no fence holds.
func (c *Cutover) verifyLargeObjects(ctx context.Context) error {
	if err := c.fence.AwaitWriters(ctx, c.sides.Source.Conn, c.Job.Settings.FenceWait); err != nil {
		return err
	}
	found, err := c.largeObjects().Verify(ctx)
	if err != nil {
		return err
	}
	state := progress.Verified
	if found.Different > 0 {
		state = progress.Mismatched
	}
	c.Job.Progress.Verified(progress.TableVerification{
		Schema: "pg_catalog", Name: "pg_largeobject", State: state,
		SourceRows: found.Source.Objects, TargetRows: found.Target.Objects, SourceHash: found.Source.Hash, TargetHash: found.Target.Hash,
	})
	if found.Different > 0 {
		return &failure.Failure{
			Code:    failure.VerificationFailed,
			Message: fmt.Sprintf("Large objects differ between source and target, or were written during the finalization (%d of %d): %s", found.Different, found.Source.Objects, largeobject.Names(found.Names, found.Different)),
			Hint:    "The source is writable again. Stop the applications that are bound to the source, make sure that nothing else writes to the target, then run 'cf pg-migrate create-finalization' again.",
		}
	}
	return nil
}
