// Package engine moves one PostgreSQL database into another one while the first is in use: one logical slot (pgoutput)
// on the source, ordinary SQL on the target. It knows nothing of HTTP, Cloud Foundry or jobs.
package engine

import (
	"context"
	"log/slog"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
)

// Engine starts the parts of a migration. It holds settings only and is safe for concurrent use.
type Engine struct {
	Settings Settings
	Log      *slog.Logger
}

// Settings are the engine's limits. Defaults gives sensible ones.
type Settings struct {
	// PgDump is the path of pg_dump, version 18 or newer.
	PgDump string
	// PgRestore is the path of pg_restore, of the same version.
	PgRestore string
	// CopyWorkers is how many tables are copied at once.
	CopyWorkers int
	// IndexWorkers is how many indexes are built at once.
	IndexWorkers int
}

// Defaults gives the settings for a small machine; pg_dump and pg_restore are looked up in PATH.
func Defaults() Settings {
	return Settings{PgDump: "pg_dump", PgRestore: "pg_restore", CopyWorkers: 4, IndexWorkers: 2}
}

// Preflight checks both databases. The error is a Failure when a database cannot be reached at all is NOT one of its
// cases: that is a critical finding (S01, T01). An error means that the check could not be made.
func (e *Engine) Preflight(ctx context.Context, source, target Database) (preflight.Report, error) {
	panic("not built yet")
}

// Replication is one running migration in this process.
type Replication struct{}

// NewReplication prepares m; nothing is done before Run.
func (e *Engine) NewReplication(m Migration) *Replication { panic("not built yet") }

// Run prepares (preflight check included), copies and then applies changes until
//   - ctx ends: it gives ctx's error, and another Run with a higher epoch goes on from there;
//   - the migration is finalized: nil;
//   - it cannot go on: a *Failure. The source stays usable.
//
// Lost connections and restarted servers are survived.
func (r *Replication) Run(ctx context.Context) error { panic("not built yet") }

// Progress is safe for concurrent use at any time.
func (r *Replication) Progress() Progress { panic("not built yet") }

// Finalize ends the migration while Run is at work in another goroutine: fence, drain, sequences, constraints,
// verification, opening, release. Just before the point of no return it calls opened, which must store durably that the
// target is the truth from now on. On an error (a *Failure, or ctx's error) the source is writable again and Run goes
// on, so that Finalize can be called again. After nil, Run gives nil too.
func (r *Replication) Finalize(ctx context.Context, opened func(context.Context) error) error {
	panic("not built yet")
}

// FinalizationProgress is safe for concurrent use at any time.
func (r *Replication) FinalizationProgress() FinalizationProgress { panic("not built yet") }

// Remove takes away everything that the migration left on the source (fence, slot, publication, replica identities,
// schema) and, with cleanTarget, what it created on the target. It is idempotent. No Replication of m may be running.
func (e *Engine) Remove(ctx context.Context, m Migration, cleanTarget bool) error {
	panic("not built yet")
}
