package engine

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// classifyOf is classify for an error of a migration of which more is known.
func classifyOf(j *job.Job, err error) *failure.Failure {
	var pg *pgconn.PgError
	if failure.Of(err) != nil || !errors.As(err, &pg) || !database.LockTableFull(pg) {
		return classify(err)
	}
	side := j.Full()
	var target *stream.TargetError
	if side == "" || errors.As(err, &target) { // the stream reads by itself what becomes of changes
		side = database.Target
	}
	return lockTableFailure(side, err)
}

// classify is the one place that decides which error ends a migration: it gives the Failure, or nil where another attempt
// can help.
func classify(err error) *failure.Failure {
	if f := failure.Of(err); f != nil {
		return f
	}
	var (
		difference *trust.DifferenceError
		refused    *stream.RefusedError
		changed    *stream.SchemaChangedError
		taken      *largeobject.TakenError
		blocked    *fence.BlockedError
		pg         *pgconn.PgError
	)
	switch {
	case errors.Is(err, schema.ErrLockTableFull):
		return lockTableFailure(database.Source, err)
	case errors.As(err, &difference):
		return &failure.Failure{Code: failure.VerificationFailed, Message: "The content of tables differs between source and target: " + difference.Error(), Err: err, Hint: "The source is writable. Make sure that nothing else writes to the target. Tables are copied again once: run 'cf pg-migrate create-finalization' again when 'cf pg-migrate replication' shows IN-SYNC."}
	case errors.As(err, &refused):
		return &failure.Failure{Code: failure.Divergence, Message: "A change could not be applied: " + err.Error(), Err: err, Hint: "Make sure that nothing else writes to the target. " + failure.StartAgain}
	case errors.As(err, &changed):
		return &failure.Failure{Code: failure.SchemaChanged, Message: "The schema of the source was changed during the replication: " + err.Error(), Err: err, Hint: failure.StartAgain}
	case errors.As(err, &taken):
		return &failure.Failure{Code: failure.LargeObjectTaken, Message: "Large objects could not be copied: " + err.Error(), Err: err, Hint: "Remove them from the target with lo_unlink, or use a new target. Then run 'cf pg-migrate create-finalization' again."}
	case errors.As(err, &blocked):
		return &failure.Failure{Code: failure.FenceRefused, Message: "Writers could not be kept off the source: " + err.Error(), Err: err, Hint: "Stop the applications that are bound to the source, then run 'cf pg-migrate create-finalization' again."}
	case errors.Is(err, ledger.ErrTakenOver):
		return &failure.Failure{Code: failure.TakenOver, Message: "Another worker has taken over this migration: " + err.Error(), Err: err}
	case errors.Is(err, ledger.ErrForeign):
		return &failure.Failure{Code: failure.Database, Message: "The target belongs to another migration: " + err.Error(), Err: err, Hint: "Delete the other replication with --clean-target, or use a new target service instance."}
	case errors.Is(err, stream.ErrNotAdvanced), errors.Is(err, snapshot.ErrRewritten), errors.Is(err, snapshot.ErrMoved), errors.Is(err, trust.ErrNoMoment),
		errors.Is(err, stream.ErrSourceEnded), errors.Is(err, schema.ErrDeadlock):
		return nil
	case errors.As(err, &pg):
		if database.TransientCode(pg.Code) {
			return nil
		}
		if database.Undecodable(pg) {
			return &failure.Failure{
				Code:    failure.Undecodable,
				Message: "PostgreSQL cannot decode the WAL of the source at this place, and no reader of the replication slot gets past it: " + err.Error(),
				Hint:    failure.StartAgain + " Meanwhile avoid TRUNCATE, and what else rewrites tables, on the source, above all until the copy has begun; DELETE is safe.",
				Err:     err,
			}
		}
		return &failure.Failure{Code: failure.Database, Message: "A database refused a statement: " + err.Error(), Err: err, Hint: "Mend the cause, or ask the operator of the service. " + failure.StartAgain}
	case database.TransientConnection(err):
		return nil
	}
	return &failure.Failure{Code: failure.Database, Message: "The migration cannot go on: " + err.Error(), Err: err, Hint: failure.StartAgain}
}

func lockTableFailure(side database.Side, err error) *failure.Failure {
	return &failure.Failure{
		Code:    failure.LockTableFull,
		Message: "The " + string(side) + " has no room for more locks: " + err.Error(),
		Err:     err,
		Hint: "Have " + database.LockTableSetting + " of the " + string(side) + " raised; 'cf pg-migrate preflight-check' shows what is needed. " +
			"Then run 'cf pg-migrate create-finalization' again, or, if the replication has failed, delete it with --clean-target and create it again.",
	}
}

// unreachable makes the Failure of a database that did not come back.
func unreachable(err error) *failure.Failure {
	f := &failure.Failure{
		Code:    failure.Unreachable,
		Message: "A database could not be reached for too long: " + err.Error(),
		Err:     err,
		Hint:    "Check both service instances and both service keys. The replication slot on the source is kept: delete the replication if it is not wanted any more.",
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "28") {
		f.Code, f.Message = failure.LoginRefused, "A database refuses the login of its service key: "+err.Error()
		f.Hint = "Make sure that the service keys are valid, then " + strings.ToLower(failure.StartAgain[:1]) + failure.StartAgain[1:]
	}
	return f
}
