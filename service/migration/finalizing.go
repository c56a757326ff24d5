package migration

import (
	"context"
	"errors"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// finalizing is the finalization of a migration that a worker drives: none, or one at work.
type finalizing struct {
	*drive
	runner Runner
	cancel context.CancelFunc // of the one at work, nil when there is none
	result chan error         // of the one at work
	began  bool               // one has begun in this run
	over   bool               // one has succeeded; Run ends soon
}

// follow does what the row says: begin, or give up.
func (f *finalizing) follow(ctx context.Context, m *state.Migration) {
	status := Status(m.FinalizationStatus)
	if status == None || f.over || m.Opened {
		return
	}
	switch {
	case m.FinalizationCancelled && f.cancel != nil:
		f.cancel()
	case m.FinalizationCancelled:
		if err := forgetFinalization(ctx, f.lease); err != nil {
			f.log.Warn("removing a finalization", "error", err)
			return
		}
		m.FinalizationStatus, m.FinalizationCancelled = string(None), false // so that nobody goes on with what was read
	case f.cancel == nil && status.NeedsWorker() && f.runner.Progress().InSync:
		f.begin(ctx)
	}
}

func (f *finalizing) begin(ctx context.Context) {
	if err := storeFinalization(ctx, f.lease, Running, nil, nil); err != nil {
		f.log.Warn("beginning a finalization", "error", err)
		return
	}
	f.event(ctx, "finalization RUNNING")
	running, cancel := context.WithCancel(ctx)
	f.cancel, f.began = cancel, true
	f.result = make(chan error, 1)
	go func(result chan<- error) { result <- f.runner.Finalize(running, f.lease.SaveOpened) }(f.result)
}

// ended stores the outcome. A success is stored when Run has ended too.
func (f *finalizing) ended(ctx context.Context, err error) error {
	f.cancel()
	f.cancel, f.result = nil, nil
	switch {
	case err == nil:
		f.over = true
		return nil
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, context.Canceled) && failure.Of(err) == nil:
		return forgetFinalization(ctx, f.lease)
	}
	failure := toFailure(err)
	f.log.Warn("finalization failed", "code", failure.Code, "error", err)
	if err := f.saveFinalization(ctx, f.runner, Failed, failure); err != nil {
		return err
	}
	f.event(ctx, "finalization FAILED", failure.Code+": "+failure.Message)
	return nil
}

func (f *finalizing) cancelNow() {
	if f.cancel != nil {
		f.cancel()
	}
}

// wait waits for the one at work, if there is one, and stores its outcome.
func (f *finalizing) wait(ctx context.Context) {
	if f.cancel == nil {
		return
	}
	if err := f.ended(ctx, <-f.result); err != nil {
		f.log.Warn("storing the outcome of a finalization", "error", err)
	}
}

// abandon gives up the one at work without storing anything, when the worker itself ends.
func (f *finalizing) abandon() {
	if f.cancel != nil {
		f.cancel()
		f.await(f.result)
		f.cancel = nil
	}
}
