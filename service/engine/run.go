package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
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
			r.giveBack(ctx, failed)
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

// giveBackTime bounds the work that gives the source back after a failure.
const giveBackTime = time.Minute

// giveBack takes from the source what harms it when nobody works on the migration any more: a fence, the slot that keeps WAL, and
// the publication, for which the source refuses updates of a table without identity. Our records stay until the removal.
func (r *Replication) giveBack(ctx context.Context, failed *failure.Failure) {
	if failed.Untouched || failed.Code == failure.TakenOver {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	source, _, err := r.job.Endpoints(ctx)
	if err == nil {
		err = releaseSource(ctx, r.job, source)
	}
	if err != nil {
		r.job.Log.Error("giving the source back", "error", err)
		r.job.Progress.Warn("The source could not be given back; 'cf pg-migrate delete-replication' does it: " + failure.Brief(err))
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
	if err := database.EndEarlier(ctx, a.sides.Target.Conn, r.job.ID, r.job.Epoch); err != nil {
		return nil, "", err
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
	if err := database.EndEarlier(ctx, a.sides.Source.Conn, r.job.ID, r.job.Epoch); err != nil {
		return nil, "", err
	}
	capture := r.job.Capture(a.sides.Source.Conn)
	if err := capture.TakeOver(ctx); err != nil {
		return nil, "", err
	}
	if known.Stage == ledger.StageNone {
		return a, known.Stage, a.wantNoLedger(ctx)
	}
	if err := capture.RecordLedger(ctx); err != nil { // the one who made it may have died
		return nil, "", err
	}
	a.choose(known.Method, known.Reason)
	if known.Stage == ledger.StageOpened {
		return a, known.Stage, nil
	}
	return a, known.Stage, a.resume(ctx, known)
}

// wantNoLedger makes sure that a migration without a ledger has not begun yet. It would begin anew, from nothing, where another
// database is, or the same in an earlier state.
func (a *attempt) wantNoLedger(ctx context.Context) error {
	recorded, err := a.job.Capture(a.sides.Source.Conn).LedgerRecorded(ctx)
	if err != nil || !recorded {
		return err
	}
	return &failure.Failure{
		Code:    failure.TargetReplaced,
		Message: "The target does not hold what this migration has recorded there: it was put back to an earlier state, or the service key leads to another database now",
		Hint:    failure.StartAgain,
	}
}

// resume makes sure that the source is not left fenced, and is still the one that the ledger knows.
func (a *attempt) resume(ctx context.Context, known ledger.Progress) error {
	var blocked *fence.BlockedError
	switch err := a.job.Fence(a.sides.Source.Endpoint).Lift(ctx, a.sides.Source.Conn); {
	case errors.As(err, &blocked):
		a.job.Progress.Warn("Triggers on the source that do nothing any more could not be taken away yet: " + blocked.Error())
	case err != nil:
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
