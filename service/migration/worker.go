package migration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// Engine is what the workers drive.
type Engine interface {
	NewReplication(m engine.Migration) Runner
	Remove(ctx context.Context, m engine.Migration, cleanTarget bool) error
}

// Runner is one running migration; *engine.Replication is one.
type Runner interface {
	Run(ctx context.Context) error
	Progress() progress.Progress
	Finalize(ctx context.Context, opened func(context.Context) error) error
	FinalizationProgress() progress.FinalizationProgress
}

// worker does the jobs. A job drives one migration until it ends, is removed, or the lease goes to somebody else.
type worker struct {
	river.WorkerDefaults[Args]
	store    *state.Store
	engine   Engine
	instance string
	log      *slog.Logger
}

// Timeout says that a job may last for ever.
func (w *worker) Timeout(*river.Job[Args]) time.Duration { return -1 }

// Work never fails a job: a migration that still needs work is found by its lease and queued again.
func (w *worker) Work(ctx context.Context, job *river.Job[Args]) error {
	id := job.Args.MigrationID
	log := w.log.With("migration", id)
	lease, m, err := w.store.TakeLease(ctx, id, w.instance, leaseTime)
	if errors.Is(err, state.ErrLeaseLost) || errors.Is(err, state.ErrNotFound) {
		log.Debug("nothing to do for this job", "reason", err.Error())
		return nil
	}
	if err != nil {
		log.Warn("taking the lease of a migration", "error", err)
		return nil
	}
	log = log.With("epoch", m.Epoch)
	log.Info("a worker takes the migration")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		keep(ctx, lease, cancel)
	}()
	d := &drive{worker: w, lease: lease, id: id, log: log, epoch: m.Epoch}
	err = d.run(ctx, m)
	interrupted := ctx.Err() != nil
	cancel(nil)
	<-kept
	switch {
	case err == nil:
	case interrupted:
		log.Info("the worker leaves the migration to another", "reason", err.Error())
	default:
		log.Error("driving a migration", "error", err)
	}
	// Even when the service stops: the next worker need not wait for the lease to run out.
	releasing, done := context.WithTimeout(context.WithoutCancel(ctx), leaseRenewal)
	defer done()
	if err := lease.Release(releasing); err != nil && !errors.Is(err, state.ErrLeaseLost) {
		log.Warn("releasing the lease", "error", err)
	}
	return nil
}

// keep renews the lease until ctx ends, and ends the work when the lease is lost or could not be renewed in time.
func keep(ctx context.Context, lease *state.Lease, lost context.CancelCauseFunc) {
	ticker := time.NewTicker(leaseRenewal)
	defer ticker.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		limited, cancel := context.WithTimeout(ctx, leaseRenewal)
		began := time.Now()
		err := lease.Renew(limited, leaseTime)
		cancel()
		switch {
		case err == nil:
			renewed = began
		case errors.Is(err, state.ErrLeaseLost), time.Since(renewed) > leaseTime-leaseRenewal:
			lost(state.ErrLeaseLost)
			return
		}
	}
}

// Times of the worker's own loop.
const (
	watchInterval   = 500 * time.Millisecond
	removalPause    = 5 * time.Second
	removalPauseMax = time.Minute
)

// progressRate is how much the progress of a replication, and that of a finalization, may write, in bytes a second: with
// 10,000 tables it takes some MB each time.
const progressRate = 512 << 10

// stored is the progress that was stored last, so that only what is new is stored, and not too often.
type stored struct {
	text []byte
	at   time.Time
}

// due says whether the rate allows to store it again.
func (p stored) due() bool {
	return time.Since(p.at) >= time.Duration(float64(len(p.text))/progressRate*float64(time.Second))
}

// drive is one worker's work on one migration.
type drive struct {
	*worker
	lease *state.Lease
	id    string
	epoch int64
	log   *slog.Logger

	replication, finalization stored
}

// run drives the migration as far as it goes.
func (d *drive) run(ctx context.Context, m *state.Migration) error {
	if !m.RemovalRequested && Status(m.ReplicationStatus).NeedsWorker() {
		if err := d.replicate(ctx, m); err != nil {
			return err
		}
		var err error
		if m, err = d.store.Brief(ctx, d.id); err != nil {
			return err
		}
	}
	if !m.RemovalRequested {
		return nil
	}
	return d.remove(ctx, m)
}

func (d *drive) migration(opened bool) engine.Migration {
	return engine.Migration{ID: d.id, Epoch: d.epoch, Databases: d.databases, Opened: opened}
}

func (d *drive) databases(ctx context.Context) (source, target database.Database, err error) {
	text, err := d.lease.Credentials(ctx) // whoever lost the lease gets no further
	if err != nil {
		return source, target, err
	}
	var c credentials
	if err := json.Unmarshal(text, &c); err != nil {
		return source, target, errors.New("the stored credentials cannot be read")
	}
	c.Source.TLS.Restore()
	c.Target.TLS.Restore()
	return c.Source, c.Target, nil
}

// replicate runs the engine until the migration is completed, failed, or to be removed. In between it stores the progress
// and starts and stops finalizations as the user wants.
func (d *drive) replicate(ctx context.Context, m *state.Migration) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	r := d.engine.NewReplication(d.migration(m.Opened))
	ran := make(chan error, 1)
	go func() { ran <- r.Run(running) }()
	f := &finalizing{drive: d, runner: r}
	defer f.abandon()
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case err := <-ran:
			f.wait(ctx) // it sees that the stream has ended
			return d.ended(ctx, m, r, f, err)
		case err := <-f.result:
			if err := f.ended(ctx, err); err != nil {
				stop()
				d.await(ran)
				return err
			}
		case <-ticker.C:
		}
		latest, err := d.store.Brief(ctx, d.id)
		switch {
		case err != nil && ctx.Err() == nil:
			d.log.Warn("reading what the user wants", "error", err)
			continue
		case err != nil:
			continue // Run ends with ctx
		case latest.RemovalRequested:
			f.cancelNow()
			stop()
			d.await(ran)
			f.wait(ctx)
			return nil
		}
		m = latest
		f.follow(ctx, m)
		if err := d.saveProgress(ctx, r, m); err != nil {
			// A row that is not what this worker takes it for needs one that reads it anew.
			if errors.Is(err, state.ErrLeaseLost) || refused(err) {
				stop()
				d.await(ran)
				return err
			}
			d.log.Warn("storing the progress", "error", err)
		}
	}
}

// await waits for the engine to stop; how it stopped does not matter any more.
func (d *drive) await(stopped <-chan error) {
	if err := <-stopped; err != nil {
		d.log.Debug("the engine has stopped", "reason", err.Error())
	}
}

// saveProgress stores what has changed.
func (d *drive) saveProgress(ctx context.Context, r Runner, m *state.Migration) error {
	p := r.Progress()
	status := Running
	if p.InSync {
		status = InSync
	}
	changed := Status(m.ReplicationStatus) != status
	if changed || d.replication.due() {
		text, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("storing the progress of a replication: %w", err)
		}
		if changed || !bytes.Equal(text, d.replication.text) {
			if err := storeReplication(ctx, d.lease, status, nil, text); err != nil {
				return err
			}
			d.replication = stored{text, time.Now()}
		}
		if changed {
			d.event(ctx, "replication "+string(status))
		}
	}
	switch finalization := Status(m.FinalizationStatus); {
	case finalization == Running:
		return d.saveFinalization(ctx, r, Running, nil)
	case finalization == Failed && d.finalization.text != nil:
		return d.amendFinalization(ctx, r)
	}
	return nil
}

// amendFinalization stores what has changed since a finalization failed: the source may be fenced still, when it could not be
// reached.
func (d *drive) amendFinalization(ctx context.Context, r Runner) error {
	if !d.finalization.due() {
		return nil
	}
	text, err := json.Marshal(r.FinalizationProgress())
	if err != nil {
		return fmt.Errorf("storing the progress of a finalization: %w", err)
	}
	if bytes.Equal(text, d.finalization.text) {
		return nil
	}
	d.finalization = stored{text, time.Now()}
	return d.lease.AmendFinalization(ctx, string(Failed), text)
}

func (d *drive) saveFinalization(ctx context.Context, r Runner, status Status, failure *Failure) error {
	if status == Running && !d.finalization.due() {
		return nil
	}
	text, err := json.Marshal(r.FinalizationProgress())
	if err != nil {
		return fmt.Errorf("storing the progress of a finalization: %w", err)
	}
	if status == Running && bytes.Equal(text, d.finalization.text) {
		return nil
	}
	d.finalization = stored{text, time.Now()}
	return storeFinalization(ctx, d.lease, status, failure, text)
}

// ended stores how the engine's Run has ended.
func (d *drive) ended(ctx context.Context, m *state.Migration, r Runner, f *finalizing, err error) error {
	progress, jsonErr := json.Marshal(r.Progress())
	if jsonErr != nil {
		return fmt.Errorf("storing the progress of a replication: %w", jsonErr)
	}
	switch {
	case err == nil:
		return d.completed(ctx, r, f, progress)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	failure := toFailure(err)
	d.log.Error("replication failed", "code", failure.Code, "error", err)
	if Status(m.FinalizationStatus).NeedsWorker() {
		// It is refused when the finalization was given up in the meantime.
		if err := d.saveFinalization(ctx, r, Failed, failure); err != nil && !refused(err) {
			return err
		}
	}
	if err := storeReplication(ctx, d.lease, Failed, failure, progress); err != nil {
		return err
	}
	d.event(ctx, "replication FAILED", failure.Code+": "+failure.Message)
	return nil
}

func (d *drive) completed(ctx context.Context, r Runner, f *finalizing, progress []byte) error {
	ctx = context.WithoutCancel(ctx) // what has happened is stored even when the service stops
	if f.began {
		if err := d.saveFinalization(ctx, r, Completed, nil); err != nil {
			return err
		}
	} else if err := storeFinalization(ctx, d.lease, Completed, nil, nil); err != nil {
		return err // an earlier worker did the work and died before it could say so
	}
	if err := storeReplication(ctx, d.lease, Completed, nil, progress); err != nil {
		return err
	}
	d.event(ctx, "migration COMPLETED")
	return d.lease.ForgetCredentials(ctx)
}

// remove takes the migration away. It goes on trying: a migration that is gone for the user must be gone from the source.
func (d *drive) remove(ctx context.Context, m *state.Migration) error {
	failed, err := decode[Failure](m.ReplicationFailure)
	if err != nil {
		return err
	}
	if failed != nil && failed.Untouched {
		d.event(ctx, "removed")
		return d.lease.Delete(ctx)
	}
	for pause := removalPause; ; pause = min(2*pause, removalPauseMax) {
		err := d.engine.Remove(ctx, d.migration(m.Opened), m.CleanTarget)
		if err == nil {
			d.event(ctx, "removed")
			return d.lease.Delete(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.log.Warn("the migration could not be removed yet", "error", err)
		failure := &Failure{Code: "REMOVAL_FAILED", Message: "The migration could not be removed yet: " + err.Error(), Hint: "It is tried again until it succeeds. Check both service instances and both service keys."}
		if err := storeReplication(ctx, d.lease, Failed, failure, nil); err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if m, err = d.store.Brief(ctx, d.id); err != nil {
			return err
		}
	}
}

func (d *drive) event(ctx context.Context, event string, detail ...string) {
	text := ""
	if len(detail) > 0 {
		text = detail[0]
	}
	if err := d.store.AddEvent(ctx, d.store.Pool(), d.id, event, text); err != nil && ctx.Err() == nil {
		d.log.Warn("storing an event", "event", event, "error", err)
	}
}

// toFailure gives an error's texts for the user.
func toFailure(err error) *Failure {
	if f := failure.Of(err); f != nil {
		return &Failure{Code: string(f.Code), Message: f.Message, Hint: f.Hint, Untouched: f.Untouched}
	}
	return &Failure{Code: "INTERNAL", Message: "The service met an error that it does not know", Hint: "Ask the operator of the service to look into its log."}
}
