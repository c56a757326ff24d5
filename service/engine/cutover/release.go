package cutover

import (
	"context"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
)

// storeTries is how often the caller is asked to store the opening, with job.RetryPause between.
const storeTries = 60

// release has the opening stored and takes away what is not needed any more. It cannot fail: the target is the truth.
func (c *Cutover) release(ctx context.Context) error {
	if err := c.storeOpened(ctx); err != nil {
		// The ledger stays on the target: it is the only record of the opening.
		c.Job.Log.Error("storing that the target was opened", "error", err)
	} else {
		c.Job.Reached(openingStored)
		if err := Release(ctx, c.Job, c.sides, c.method, c.fence); err != nil {
			c.Job.Log.Warn("releasing the source after the opening", "error", err)
			c.Job.Progress.Warn("What the migration left on the source could not all be removed yet; delete-replication removes it: " + failure.Brief(err))
		}
	}
	c.fence.Release(ctx)
	return nil
}

func (c *Cutover) storeOpened(ctx context.Context) (err error) {
	for range storeTries {
		if err = c.Opened(ctx); err == nil {
			return nil
		}
		time.Sleep(job.RetryPause)
	}
	return err
}

// Release takes away what the migration no longer needs once the target is the truth. Left until delete-replication are only
// the fence on the source, which keeps late writers from losing what they write there, and our schema with its records.
func Release(ctx context.Context, j *job.Job, s job.Sides, m method.Method, f *fence.Fence) error {
	f.Release(ctx)
	if err := f.Settle(ctx, s.Source.Conn); err != nil {
		return err
	}
	if err := m.Release(ctx); err != nil {
		return err
	}
	j.Reached(SourceReleased)
	return j.Ledger.Drop(ctx, s.Target.Conn)
}
