package engine

import (
	"context"
	"errors"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
)

// Finalize ends the migration while Run is at work in another goroutine, and waits until it is in sync: online verification of
// what has changed, fence, drain, verification of what has changed since, sequences, constraints, opening, release. The opening is
// one transaction on the target; its commit is the point of no return, after which opened is called and must store durably that
// the target is the truth from now on. On an error (a *failure.Failure, or ctx's error) the source is writable again and Run goes
// on, so that Finalize can be called again. After nil, Run gives nil too.
func (r *Replication) Finalize(ctx context.Context, opened func(context.Context) error) error {
	if !r.job.Progress.FinalizationAsked() {
		return &failure.Failure{Code: failure.Database, Message: "A finalization is running already"}
	}
	defer r.job.Progress.FinalizationEnded()
	limit := r.job.Settings.FinalizationLimit + r.job.Progress.ExpectedCutover()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := r.ask(limited, opened)
	for errors.Is(err, errNotYet) {
		err = r.ask(limited, opened)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errNotInSync):
		return &failure.Failure{Code: failure.NotInSync, Message: "The replication is not in sync", Hint: "Wait until 'cf pg-migrate replication' shows IN-SYNC, then finalize again."}
	case limited.Err() != nil:
		return &failure.Failure{
			Code:    failure.Timeout,
			Message: "The finalization took longer than " + limit.String() + " and was given up; the source is writable again",
			Hint:    "Try again at a time of less load, or ask the operator to raise the limit.",
		}
	}
	if f := classifyOf(r.job, err); f != nil {
		return f
	}
	return &failure.Failure{Code: failure.Database, Message: "The finalization was interrupted: " + err.Error(), Hint: failure.FinalizeAgain, Err: err}
}

// errNotInSync says that no finalization could begin as long as somebody waited for it.
var errNotInSync = errors.New("the replication is not in sync")

// ask hands a finalization to Run as soon as one can begin, and waits for the outcome.
func (r *Replication) ask(ctx context.Context, opened func(context.Context) error) error {
	result := make(chan error, 1)
	select {
	case r.requests <- request{ctx: ctx, opened: opened, result: result}:
		return <-result
	case <-r.ended:
	case <-ctx.Done():
	}
	return errNotInSync
}
