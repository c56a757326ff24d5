package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

const (
	retryPauseMax = 15 * time.Second

	// A lock table that is too small stays so until its server is started anew; others may fill one for a moment. So many
	// attempts may find it full, with so much time in between, unless the one before was long ago.
	noRoomTries  = 4
	noRoomPause  = 5 * time.Second
	noRoomMemory = time.Hour
)

// Run prepares (preflight check included), copies and then applies changes until
//   - ctx ends: it gives ctx's error, and another Run with a higher epoch goes on from there;
//   - the migration is finalized: nil;
//   - it cannot go on: a *failure.Failure. The source stays usable.
//
// Lost connections and restarted servers are survived. A finalization that is at work when ctx ends is given up, and the source
// given back first. Run is called once.
func (r *Replication) Run(ctx context.Context) error {
	defer close(r.ended)
	pause := job.RetryPause
	healthy := time.Now()
	var noRoom roomTries
	for {
		err := r.attempt(ctx, &healthy)
		switch {
		case err == nil:
			r.job.Enter(progress.Completed)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNotFinalized), errors.Is(err, trust.ErrCopyAgain):
			continue
		}
		failed := classifyOf(r.job, err)
		full := failed != nil && failed.Code == failure.LockTableFull && noRoom.another()
		if failed != nil && !full {
			r.job.Log.Error("replication failed", "code", failed.Code, "error", err)
			return failed
		}
		if time.Since(healthy) > r.job.Settings.GiveUpAfter {
			return unreachable(err)
		}
		if time.Since(healthy) < retryPauseMax {
			pause = job.RetryPause
		}
		if full {
			pause = noRoomPause
		}
		r.job.Log.Warn("replication interrupted, trying again", "error", err, "pause", pause.String())
		r.job.Progress.Warn("Interrupted at " + time.Now().UTC().Format(time.TimeOnly) + " UTC and tried again: " + failure.Brief(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, retryPauseMax)
	}
}

// attempt takes the migration from the stage that the ledger says through the next ones, until it is done or something ends the
// attempt. healthy is set whenever both databases were reached.
func (r *Replication) attempt(ctx context.Context, healthy *time.Time) error {
	a, stage, err := r.connect(ctx, healthy)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	for stage != ledger.StageDone {
		s, known := stages[stage]
		if !known {
			return fmt.Errorf("the ledger on the target is at stage %q, which this version of the service does not know", stage)
		}
		r.job.Reached(stagePoint(stage))
		r.job.Enter(s.phase)
		stage, err = s.do(a, ctx)
		*healthy = time.Now() // a copy of hours that breaks off is tried again
		if err != nil {
			return a.copyAgain(ctx, err)
		}
	}
	return nil
}

// connect opens the attempt's sessions, and gives the stage from which it goes on. What is given without an error has to be
// closed.
func (r *Replication) connect(ctx context.Context, healthy *time.Time) (_ *attempt, _ ledger.Stage, err error) {
	source, target, err := r.job.Endpoints(ctx)
	if err != nil {
		return nil, "", err
	}
	a := &attempt{
		engine: r.engine, migration: r.migration, job: r.job, requests: r.requests,
		sides: job.Sides{Source: job.Side{Endpoint: source}, Target: job.Side{Endpoint: target}},
	}
	defer func() {
		if err != nil {
			a.close(ctx)
		}
	}()
	if a.sides.Target.Conn, err = target.Connect(ctx); err != nil {
		return nil, "", a.firstContact(ctx, err)
	}
	known, err := r.job.Ledger.TakeOver(ctx, a.sides.Target.Conn)
	if err != nil {
		return nil, "", err
	}
	if known.Stage == ledger.StageNone && r.migration.Opened {
		return a, ledger.StageDone, nil // the ledger is the last thing that a finished migration removes
	}
	if a.sides.Source.Conn, err = source.Connect(ctx); err != nil {
		if known.Stage == ledger.StageNone {
			err = a.firstContact(ctx, err)
		}
		return nil, "", err
	}
	*healthy = time.Now()
	if known.Stage == ledger.StageNone {
		return a, known.Stage, nil
	}
	a.choose(known.Method, known.Reason)
	if known.Stage == ledger.StageOpened {
		return a, known.Stage, nil
	}
	return a, known.Stage, a.resume(ctx, known)
}

// resume makes sure that the source is not left fenced, and is still the one that the ledger knows.
func (a *attempt) resume(ctx context.Context, known ledger.Progress) error {
	if err := a.job.Fence(a.sides.Source.Endpoint).Lift(ctx, a.sides.Source.Conn); err != nil {
		return err
	}
	a.job.Progress.Unfenced()
	if err := a.method.Check(ctx, known); err != nil {
		return err
	}
	return a.job.ReadTables(ctx, a.sides, false)
}

// copyAgain makes sure that the tables are copied again that cause distrusts, if it does, and gives what the attempt ends with.
func (a *attempt) copyAgain(ctx context.Context, cause error) error {
	if len(trust.Distrust(cause)) == 0 {
		return cause
	}
	return trust.CopyAgain(ctx, a.job, a.sides.Target.Conn, a.method.Because(ctx, cause))
}

// roomTries counts the attempts that a full lock table has ended.
type roomTries struct {
	count  int
	newest time.Time
}

// another counts one more and says whether it is to be tried again.
func (t *roomTries) another() bool {
	if time.Since(t.newest) > noRoomMemory {
		t.count = 0
	}
	t.count, t.newest = t.count+1, time.Now()
	return t.count < noRoomTries
}
