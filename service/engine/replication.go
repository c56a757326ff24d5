package engine

import (
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// Replication is one running migration in this process. Its methods are safe for concurrent use.
type Replication struct {
	engine    *Engine
	migration Migration
	job       *job.Job
	// requests hands a finalization to Run, which alone owns the stream; it is received only when one can begin.
	requests chan request
	ended    chan struct{} // closed when Run has ended
}

// NewReplication prepares m; nothing is done before Run.
func (e *Engine) NewReplication(m Migration) *Replication {
	return &Replication{engine: e, migration: m, job: e.newJob(m), requests: make(chan request), ended: make(chan struct{})}
}

func (e *Engine) newJob(m Migration) *job.Job {
	log := e.Log.With("migration", m.ID, "epoch", m.Epoch)
	return &job.Job{
		ID: m.ID, Epoch: m.Epoch, Settings: e.Settings, Log: log, Databases: m.Databases, OnReached: e.reached,
		Ledger:   ledger.Ledger{Migration: m.ID, Epoch: m.Epoch, Next: nextStages()},
		Progress: progress.New(log),
	}
}

// Progress gives how the replication stands.
func (r *Replication) Progress() progress.Progress { return r.job.Progress.Progress() }

// FinalizationProgress gives how the newest finalization stands.
func (r *Replication) FinalizationProgress() progress.FinalizationProgress {
	return r.job.Progress.FinalizationProgress()
}
