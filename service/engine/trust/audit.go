package trust

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// How often the online verification is tried again when it could not be made.
const (
	pauseFirst   = 10 * time.Second
	pauseLongest = 5 * time.Minute
	inSyncPoll   = 200 * time.Millisecond
)

// Auditor verifies tables while writers and the apply go on. It is safe for concurrent use.
type Auditor struct {
	job     *job.Job
	moments Moments
	turn    *semaphore.Weighted
}

// NewAuditor gives one that verifies at moments.
func NewAuditor(j *job.Job, moments Moments) *Auditor {
	return &Auditor{job: j, moments: moments, turn: semaphore.NewWeighted(1)}
}

// Audit verifies the tables that were not found equal yet, once the replication is in sync, and ends when all are. What keeps it
// from that keeps nothing else from going on: it is tried again. Errors: *DifferenceError.
func (a *Auditor) Audit(ctx context.Context) error {
	for pause := pauseFirst; ; pause = min(2*pause, pauseLongest) {
		if err := a.awaitInSync(ctx); err != nil {
			return err
		}
		err := a.Verify(ctx, func(t progress.Table) bool { return t.Verification != progress.Verified })
		var difference *DifferenceError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &difference):
			return err
		}
		a.job.Log.Warn("the tables cannot be verified now", "error", err, "pause", pause.String())
		a.job.Progress.Warn("The tables could not be verified yet; it is tried again: " + failure.Brief(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *Auditor) awaitInSync(ctx context.Context) error {
	ticker := time.NewTicker(inSyncPoll)
	defer ticker.Stop()
	for a.job.Progress.Phase() != progress.InSync {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Verify verifies the tables that are chosen, but none that is deferred. Of two calls at once, one waits for the other.
// Errors: *DifferenceError, ErrNoMoment.
func (a *Auditor) Verify(ctx context.Context, choose func(progress.Table) bool) error {
	if err := a.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer a.turn.Release(1)
	var tables []progress.Table
	for _, t := range a.job.Progress.Tables() {
		if !t.Deferred && choose(t) {
			tables = append(tables, t)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	m, err := a.moments.Moment(ctx, a.job.Settings.VerifyWait)
	if err != nil {
		return err
	}
	defer m.Close(ctx)
	a.job.Log.Info("verifying", "tables", len(tables), "lsn", m.LSN.String(), "stall", m.Stall.String())
	return Verification{
		Sides:  SidesOf(m.Source.Conn(), m.Target.Conn()),
		Source: m.Source.Dialer(m.DialSource),
		Target: m.Target.Dialer(m.DialTarget),
		At:     m.LSN,
		Signs:  m.Signs,
	}.Verify(ctx, a.job, tables)
}
