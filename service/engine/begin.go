package engine

import (
	"context"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/build"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method/logical"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// begin is the stage of a migration of which nothing is on the target: preflight check, choice of the method, first snapshot,
// and the ledger.
func (a *attempt) begin(ctx context.Context) (ledger.Stage, error) {
	report, err := a.check(ctx, a.sides.Source.Endpoint.Database, a.sides.Target.Endpoint.Database)
	if err != nil {
		return "", err
	}
	name, reason := ledger.Logical, logical.Reason
	if len(report.Offline) > 0 {
		name, reason = ledger.Offline, strings.Join(report.Offline, "; ")
	}
	a.choose(name, reason)
	a.job.Progress.SourceTouched()
	if err := a.method.Prepare(ctx); err != nil {
		return "", err
	}
	if a.anchor, err = a.method.Anchor(ctx); err != nil {
		return "", err
	}
	a.job.Enter(progress.Schema)
	if err := build.Record(ctx, a.job, a.sides, name, reason, a.anchor); err != nil {
		return "", err
	}
	if err := a.job.Capture(a.sides.Source.Conn).RecordLedger(ctx); err != nil {
		return "", err
	}
	return ledger.StageSchema, nil
}

// build is the stage in which the schema is made on the target, as far as it comes before the rows.
func (a *attempt) build(ctx context.Context) (ledger.Stage, error) {
	if err := build.BeforeData(ctx, a.job, a.sides); err != nil {
		return "", err
	}
	return a.pass(ctx, ledger.StageSchema, ledger.StageCopying)
}

// firstContact turns a connection that fails before anything was made into the preflight check's text; the check opens its
// own connections, so that what was a passing fault is simply tried again.
func (a *attempt) firstContact(ctx context.Context, err error) error {
	// A migration that another worker or attempt may have begun is not ended by a database that is away for a while.
	if a.begun() {
		return err
	}
	source, target, dbErr := a.migration.Databases(ctx)
	if dbErr != nil {
		return dbErr
	}
	if _, checkErr := a.check(ctx, source, target); checkErr != nil {
		return checkErr
	}
	return err
}

// begun says whether this worker has made something, or an earlier one may have.
func (a *attempt) begun() bool { return a.job.Progress.Touched() || a.migration.Epoch > 1 }

// check makes the preflight check; critical findings are a *failure.Failure.
func (a *attempt) check(ctx context.Context, source, target database.Database) (preflight.Report, error) {
	report, err := a.engine.preflight(ctx, a.migration.ID, source, target)
	if err != nil || !report.Critical() {
		return report, err
	}
	texts := append(report.Texts(preflight.Source, preflight.Critical), report.Texts(preflight.Target, preflight.Critical)...)
	return report, &failure.Failure{
		Code:      failure.PreflightCritical,
		Message:   "The preflight check found critical issues: " + strings.Join(texts, "; "),
		Hint:      "Mend them ('cf pg-migrate preflight-check' shows them all), then delete the replication and create it again.",
		Untouched: !a.begun(),
	}
}
