package engine

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/drift"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// askPoll is how often it is looked whether a finalization that was asked for can begin.
const askPoll = 50 * time.Millisecond

// follow is the stage in which changes are carried, tables verified, and, when somebody asks for it, the migration finalized.
func (a *attempt) follow(ctx context.Context) (ledger.Stage, error) {
	copied, err := a.job.Ledger.Fingerprint(ctx, a.sides.Target.Conn)
	if err != nil {
		return "", err
	}
	parallel, cancel := context.WithCancel(ctx)
	defer cancel()
	beside, besideCtx := errgroup.WithContext(parallel)
	following, err := a.method.Follow(besideCtx)
	if err != nil {
		return "", err
	}
	auditor := trust.NewAuditor(a.job, following)
	beside.Go(func() error { return drift.Watch(besideCtx, a.job, a.sides.Source.Conn, copied) })
	if !a.method.Deferred() {
		beside.Go(func() error { return auditor.Audit(besideCtx) })
	}
	go func() { // what goes on beside ends with it
		<-following.Done()
		cancel()
	}()
	finalized, err := a.serve(ctx, following, auditor)
	if ended := following.Stop(); ended != nil && len(trust.Distrust(err)) == 0 { // by itself: that is why a finalization could not go on
		err = ended
	}
	_ = beside.Wait()
	if cause := context.Cause(besideCtx); cause != nil && !errors.Is(cause, context.Canceled) && len(trust.Distrust(err)) == 0 {
		err = cause // what goes on beside it has ended it
	}
	if finalized {
		return ledger.StageDone, nil
	}
	a.job.Progress.Enter(progress.CatchingUp)
	return "", err
}

// serve begins finalizations that are asked for, until one succeeds or the following has ended.
func (a *attempt) serve(ctx context.Context, following method.Following, auditor *trust.Auditor) (finalized bool, err error) {
	ticker := time.NewTicker(askPoll)
	defer ticker.Stop()
	for {
		select {
		case <-following.Done():
			return false, err
		default:
		}
		var requests <-chan request
		if a.job.Progress.Finalizable() {
			requests = a.requests
		}
		select {
		case <-ticker.C:
		case <-following.Done():
			return false, err
		case q := <-requests:
			if !a.job.Progress.Finalizable() {
				q.result <- errNotYet
				continue
			}
			if err = a.finalize(ctx, q, following, auditor); err == nil {
				return true, nil
			}
		}
	}
}

// finalize makes one cutover and tells the one who asked for it, or lets the end of the attempt tell, when that comes with its
// failure. Its error is what the attempt then ends with: tables that are different, or errNotFinalized.
func (a *attempt) finalize(ctx context.Context, q request, following method.Following, auditor *trust.Auditor) error {
	running, cancel := context.WithCancel(q.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	c := &cutover.Cutover{
		Job:       a.job,
		Source:    a.sides.Source.Endpoint,
		Target:    a.sides.Target.Endpoint,
		Method:    func(s job.Sides) method.Method { return a.newMethod(a.name, s) },
		Following: following,
		Auditor:   auditor,
		Opened:    q.opened,
		Steps:     a.engine.cutoverSteps(),
	}
	outcome := c.Run(running) //nolint:contextcheck // it ends with the one who asked, and with Run
	err := outcome
	switch {
	case len(trust.Distrust(outcome)) > 0:
		_ = following.Stop() // nothing may be applied until it is recorded what is to be copied again
	case outcome != nil:
		err = errNotFinalized
	}
	select {
	case <-following.Done():
		if outcome != nil {
			a.job.Progress.Enter(progress.CatchingUp)
			a.answer = func() { q.result <- outcome }
			return err
		}
	default:
	}
	q.result <- outcome
	return err
}
