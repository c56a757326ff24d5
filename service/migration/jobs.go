package migration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// Times of the leases. A migration whose worker died is taken over after at most leaseTime + orphanInterval and the
// queue's own second, well within 30 s.
const (
	leaseTime      = 15 * time.Second
	leaseRenewal   = 5 * time.Second
	orphanInterval = 5 * time.Second
	orphanAgain    = 10 * time.Second
)

// Args name the migration that a job drives.
type Args struct {
	MigrationID string `json:"migration_id"`
}

// Kind is the job's name in the queue.
func (Args) Kind() string { return "migration" }

// Jobs is the queue and the workers of this instance of the service.
type Jobs struct {
	client *river.Client[pgx.Tx]
	store  *state.Store
	log    *slog.Logger
	// Taken is called for every migration that was found without a worker; nil for none.
	Taken func()
}

// NewJobs prepares the queue. engine is what the workers drive, atOnce how many migrations this instance drives at once, and
// instance its name in the leases.
func NewJobs(store *state.Store, engine Engine, atOnce int, instance string, log *slog.Logger) (*Jobs, error) {
	workers := river.NewWorkers()
	w := &worker{store: store, engine: engine, instance: instance, log: log}
	if err := river.AddWorkerSafely(workers, w); err != nil {
		return nil, fmt.Errorf("preparing the job queue: %w", err)
	}
	client, err := river.NewClient(riverpgxv5.New(store.Pool()), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: atOnce}},
		Workers: workers,
		Logger:  slog.New(atLeastWarn{log.Handler()}),
		// A job lasts as long as its migration. A lost one is found by the leases, not by its age.
		JobTimeout:           -1,
		RescueStuckJobsAfter: 10 * 365 * 24 * time.Hour,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the job queue: %w", err)
	}
	return &Jobs{client: client, store: store, log: log}, nil
}

// atLeastWarn keeps the queue's chatter out of the log.
type atLeastWarn struct{ slog.Handler }

// Enabled says whether a line of that level is written.
func (h atLeastWarn) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// Enqueue adds the job that drives a migration.
func (j *Jobs) Enqueue(ctx context.Context, tx pgx.Tx, id string) error {
	if _, err := j.client.InsertTx(ctx, tx, Args{MigrationID: id}, nil); err != nil {
		return fmt.Errorf("queueing migration %s: %w", id, err)
	}
	return nil
}

// Run works until ctx ends; then it stops the migrations of this instance, which others go on with, in the time that stop
// gives.
func (j *Jobs) Run(ctx context.Context, stop time.Duration) error {
	if err := j.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("starting the job queue: %w", err)
	}
	ticker := time.NewTicker(orphanInterval)
	defer ticker.Stop()
	for {
		if err := j.takeOrphans(ctx); err != nil && ctx.Err() == nil {
			j.log.Warn("looking for migrations without a worker", "error", err)
		}
		select {
		case <-ticker.C:
			continue
		case <-ctx.Done():
		}
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stop)
		defer cancel()
		if err := j.client.StopAndCancel(stopping); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("stopping the job queue: %w", err)
		}
		return nil
	}
}

func (j *Jobs) takeOrphans(ctx context.Context) error {
	unfinished := where(func(r rule) bool { return r.needsWorker })
	_, err := j.store.Orphans(ctx, unfinished, orphanAgain, func(ctx context.Context, tx pgx.Tx, id string) error {
		j.log.Info("a migration without a worker is queued again", "migration", id)
		if j.Taken != nil {
			j.Taken()
		}
		return j.Enqueue(ctx, tx, id)
	})
	return err
}
