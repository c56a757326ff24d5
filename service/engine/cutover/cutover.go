// Package cutover ends a migration: a list of steps that keeps writers off the source, brings the rest over, verifies, and opens
// the target.
package cutover

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/drift"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// undoTime bounds the work that gives the source back after a failure.
const undoTime = time.Minute

// Cutover is one try to end a migration. It is used once.
type Cutover struct {
	Job            *job.Job
	Source, Target database.Endpoint
	// Method gives the migration's method, by the cutover's own sessions.
	Method func(job.Sides) method.Method
	// Following is the method at work. The cutover stops it when everything is on the target.
	Following method.Following
	Auditor   *trust.Auditor
	// Opened must store durably that the target is the truth from now on.
	Opened func(context.Context) error
	Steps  []Step

	sides     job.Sides
	method    method.Method
	fence     *fence.Fence
	at        Boundary
	schema    drift.State               // of the source, as the target has it
	positions map[catalog.Sequence]bool // of the source's sequences at which the target's stand, too
	armed     func(giveUp bool) error   // waits for the fence to be armed; nil when nobody arms it
	giveUp    context.CancelCauseFunc   // ends the steps
	opening   pgx.Tx                    // the transaction that opens the target; nil before
}

// Run takes the steps. On an error the source is writable again, or the following is stopped and the next attempt makes it so
// before anything else; tables that are different are named by a *trust.DifferenceError. After the opening it succeeds whatever
// happens, and does not stop with ctx.
func (c *Cutover) Run(ctx context.Context) error {
	err := c.run(ctx)
	if err != nil {
		c.Job.Log.Warn("finalization failed", "error", err)
		c.Job.Progress.FenceGivenUp()
	}
	return err
}

func (c *Cutover) run(ctx context.Context) (err error) {
	c.sides = job.Sides{Source: job.Side{Endpoint: c.Source}, Target: job.Side{Endpoint: c.Target}}
	if c.sides.Source.Conn, err = c.Source.Connect(ctx); err != nil {
		return err
	}
	defer database.Close(ctx, c.sides.Source.Conn)
	if c.sides.Target.Conn, err = c.Target.Connect(ctx); err != nil {
		return err
	}
	defer database.Close(ctx, c.sides.Target.Conn)
	c.method = c.Method(c.sides)
	c.fence = c.Job.Fence(c.Source)
	ctx, c.giveUp = context.WithCancelCause(ctx)
	defer c.giveUp(nil)
	defer func() {
		c.Job.Progress.StepEnded()
		if err != nil {
			c.undo(ctx, err)
		}
	}()
	for _, s := range c.Steps {
		if s.When != nil {
			if due, err := s.When(c, ctx); err != nil {
				return err
			} else if !due {
				continue
			}
		}
		c.Job.Reached(s.Name)
		c.Job.Progress.StepBegan(s.Name)
		if s.From == Fenced && c.at < Fenced {
			limited, cancel := context.WithTimeoutCause(ctx, c.fenceLimit(), errFencedTooLong)
			defer cancel()
			ctx = limited
		}
		c.pass(s.From)
		if err := s.Do(c, ctx); err != nil {
			switch cause := context.Cause(ctx); {
			case errors.Is(cause, errNotArmed):
				return cause
			case errors.Is(cause, errFencedTooLong) && !errors.Is(err, errUnknownOutcome):
				return &failure.Failure{
					Code:    failure.Timeout,
					Message: "Writers were kept off the source for longer than " + c.fenceLimit().String() + " at step \"" + s.Name + "\", and the finalization was given up; the source is writable again",
					Hint:    "See what the target waits for at that time, for instance a backup of it, and try again, or ask the operator to raise the limit.",
					Err:     err,
				}
			}
			return err
		}
		if c.at == Opened {
			ctx = context.WithoutCancel(ctx)
		}
	}
	return nil
}

// errFencedTooLong ends the steps.
var errFencedTooLong = errors.New("writers were kept off the source for too long")

// fenceLimit is how long writers may be kept off the source.
func (c *Cutover) fenceLimit() time.Duration {
	return c.Job.Settings.FenceLimit + c.Job.Progress.ExpectedCutover()
}

// pass says that a boundary is passed, and looks after the clock of the fence.
func (c *Cutover) pass(b Boundary) {
	if b <= c.at {
		return
	}
	c.at = b
	switch b {
	case Fenced:
		c.Job.Progress.Fenced()
	case Opened:
		c.Job.Progress.Unfenced()
	}
}

// undo gives the source back writable, as far as the boundary asks for it. It works with a session of its own, because the
// cutover's may be what broke. What it cannot do, the next attempt does before anything else.
func (c *Cutover) undo(ctx context.Context, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if c.armed != nil {
		_ = c.armed(true) // the fence's session is for one at a time
	}
	if c.at != Fenced || errors.Is(cause, errUnknownOutcome) {
		return
	}
	c.fence.Release(ctx)
	conn, err := c.Source.Connect(ctx)
	if err == nil {
		defer database.Close(ctx, conn)
		err = c.fence.Lift(ctx, conn)
	}
	var blocked *fence.BlockedError
	switch {
	case errors.As(err, &blocked):
		c.Job.Progress.Warn("The source is writable. Triggers that do nothing any more could not be taken away yet: " + blocked.Error())
	case err != nil:
		c.Job.Log.Error("making the source writable again", "error", err)
		c.Job.Progress.Warn("The source could not be made writable again yet; it is tried again: " + failure.Brief(err))
		_ = c.Following.Stop() // a new attempt begins with lifting the fence, and then stops the fence's clock
		return
	}
	c.Job.Progress.Unfenced()
}

// check brings over what has changed of the schema, and most of the sequences' positions.
func (c *Cutover) check(ctx context.Context) (err error) {
	if c.schema, err = drift.Carry(ctx, c.Job, c.sides, c.method.Deferred()); err != nil {
		return err
	}
	return c.setSequences(ctx)
}
