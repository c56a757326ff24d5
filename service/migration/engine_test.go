package migration_test

import (
	"context"
	"errors"
	"sync"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
)

// scripted is an engine that does what a test tells it to. It is safe for concurrent use.
type scripted struct {
	runs     chan *run     // every Run, when it begins
	removals chan *removal // every Remove, when it begins; the test answers it

	preflight func(context.Context) (preflight.Report, error)
}

func newScripted() *scripted {
	return &scripted{runs: make(chan *run, 100), removals: make(chan *removal, 100)}
}

type removal struct {
	migration   engine.Migration
	cleanTarget bool
	answer      chan error
}

func (s *scripted) Preflight(ctx context.Context, _, _ database.Database) (preflight.Report, error) {
	return s.preflight(ctx)
}

func (s *scripted) NewReplication(m engine.Migration) migration.Runner {
	return &run{
		engine: s, migration: m, end: make(chan error, 1), finished: make(chan struct{}),
		finalizations: make(chan *finalization, 10), progress: progress.Progress{Phase: progress.Preparing},
	}
}

func (s *scripted) Remove(ctx context.Context, m engine.Migration, cleanTarget bool) error {
	r := &removal{migration: m, cleanTarget: cleanTarget, answer: make(chan error, 1)}
	s.removals <- r
	select {
	case err := <-r.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is one Run of a migration.
type run struct {
	engine        *scripted
	migration     engine.Migration
	end           chan error // what Run is to give
	finished      chan struct{}
	finalizations chan *finalization // every Finalize, when it begins

	mu       sync.Mutex // guards what follows
	progress progress.Progress
	steps    progress.FinalizationProgress
}

// finalization is one Finalize.
type finalization struct {
	opened func(context.Context) error
	answer chan error // what Finalize is to give; after nil, Run gives nil too
}

func (r *run) Run(ctx context.Context) error {
	defer close(r.finished)
	r.engine.runs <- r
	select {
	case err := <-r.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) Finalize(ctx context.Context, opened func(context.Context) error) error {
	f := &finalization{opened: opened, answer: make(chan error, 1)}
	r.finalizations <- f
	select {
	case err := <-f.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// set changes what the run says of itself.
func (r *run) set(change func(*progress.Progress)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.progress)
}

func (r *run) inSync() {
	r.set(func(p *progress.Progress) { p.Phase, p.InSync = progress.InSync, true })
}

func (r *run) Progress() progress.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress
}

func (r *run) FinalizationProgress() progress.FinalizationProgress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.steps
}

// accesses says what each token may do; all names are allowed.
type accesses struct {
	mu      sync.Mutex // guards what follows
	byToken map[string]cloudfoundry.Access
}

var errNoAccess = errors.New("this token may not read the keys")

func (a *accesses) Look(_ context.Context, token string, _ cloudfoundry.Names) (cloudfoundry.Access, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	access, ok := a.byToken[token]
	if !ok {
		return cloudfoundry.Access{}, errNoAccess
	}
	return access, nil
}

func (a *accesses) set(token string, access cloudfoundry.Access) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byToken[token] = access
}
