// Package engine moves one PostgreSQL database into another one while the first is in use. It is the door and the machine: what
// can be asked of a migration, and the stages that it goes through. The rooms below it do the work. It knows nothing of HTTP,
// Cloud Foundry or jobs.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
)

// Settings are the engine's limits.
type Settings = job.Settings

// Defaults gives the settings for a small machine; pg_dump and pg_restore are looked up in PATH.
func Defaults() Settings { return job.Defaults() }

// Engine starts the parts of a migration. It holds settings only and is safe for concurrent use.
type Engine struct {
	Settings Settings
	Log      *slog.Logger
	// reached is called between the durable steps of a migration, so that tests can end a worker there; else it is nil.
	reached func(point string)
	// steps are those of a cutover that a test has changed; nil: cutover.Steps.
	steps []cutover.Step
}

func (e *Engine) cutoverSteps() []cutover.Step {
	if e.steps != nil {
		return e.steps
	}
	return cutover.Steps()
}

// Preflight checks both databases. That one of them cannot be reached is a critical finding; an error means that the check
// could not be made.
func (e *Engine) Preflight(ctx context.Context, source, target database.Database) (preflight.Report, error) {
	return e.preflight(ctx, "", source, target)
}

func (e *Engine) preflight(ctx context.Context, migration string, source, target database.Database) (preflight.Report, error) {
	const application = "pgmig_preflight"
	report, err := preflight.Check(ctx, preflight.Options{
		MigrationID:   migration,
		Source:        database.Endpoint{Database: source, Side: database.Source, Application: application},
		Target:        database.Endpoint{Database: target, Side: database.Target, Application: application},
		PgDumpVersion: e.pgDumpVersion(ctx),
		CopyWorkers:   e.Settings.CopyWorkers,
		IndexWorkers:  e.Settings.IndexWorkers,
		RefuseOffline: e.Settings.RefuseOffline,
	})
	if err != nil {
		return preflight.Report{}, fmt.Errorf("checking the databases: %w", err)
	}
	return report, nil
}

var versionNumber = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// pgDumpVersion gives the major version of pg_dump, 0 when it cannot be run.
func (e *Engine) pgDumpVersion(ctx context.Context) int {
	out, err := exec.CommandContext(ctx, e.Settings.PgDump, "--version").Output()
	if err != nil {
		e.Log.Warn("pg_dump cannot be run", "path", e.Settings.PgDump, "error", err)
		return 0
	}
	m := versionNumber.FindSubmatch(out)
	if m == nil {
		return 0
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return major
}
