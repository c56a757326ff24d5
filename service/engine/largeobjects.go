package engine

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
)

// Large objects are carried in the finalization: most of them before the fence, the difference under it. No lock keeps them
// from being written, and only from PostgreSQL 16 on does a transaction that is read-only by default. So the sessions are
// ended, write transactions are waited for, and the last thing before the opening is to compare both sides.

func (f *finalization) largeObjects() largeobject.Sides {
	return largeobject.Sides{
		Source:     f.live.source.Connect,
		Target:     f.live.target.Connect,
		CheckEpoch: func(ctx context.Context, tx pgx.Tx) error { return f.ledger.CheckEpoch(ctx, tx) },
		Workers:    f.engine.Settings.CopyWorkers,
	}
}

// copyLargeObjects is the step of that name. It is left out if there are none.
func (f *finalization) copyLargeObjects(ctx context.Context, step string) error {
	exist, err := largeobject.Exist(ctx, f.source, f.target)
	if err != nil || !exist {
		return err
	}
	f.step(step)
	if f.raised {
		if err := f.fence.AwaitWriters(ctx, f.source, f.engine.Settings.FenceWait); err != nil {
			return err
		}
	}
	return f.largeObjects().Copy(ctx)
}

// verifyLargeObjects compares them on both sides. It comes directly before the opening, and shows writers that no fence holds.
func (f *finalization) verifyLargeObjects(ctx context.Context) error {
	exist, err := largeobject.Exist(ctx, f.source, f.target)
	if err != nil || !exist {
		return err
	}
	f.step(stepObjectsVerification)
	if err := f.fence.AwaitWriters(ctx, f.source, f.engine.Settings.FenceWait); err != nil {
		return err
	}
	c, err := f.largeObjects().Compare(ctx)
	if err != nil {
		return err
	}
	state := Validated
	if c.Different > 0 {
		state = Mismatched
	}
	f.mu.Lock()
	f.verified = append(f.verified, TableVerification{
		Schema: "pg_catalog", Name: "pg_largeobject", Validation: state,
		SourceRows: c.Source.Objects, TargetRows: c.Target.Objects, SourceHash: c.Source.Hash, TargetHash: c.Target.Hash,
	})
	f.mu.Unlock()
	if c.Different > 0 {
		return &Failure{
			Code:    CodeVerificationFailed,
			Message: fmt.Sprintf("Large objects differ between source and target, or were written during the finalization (%d of %d): %s", c.Different, c.Source.Objects, largeobject.Names(c.Names, c.Different)),
			Hint:    "The source is writable again. Stop the applications that are bound to the source, make sure that nothing else writes to the target, then run 'cf pg-migrate create-finalization' again.",
		}
	}
	return nil
}
