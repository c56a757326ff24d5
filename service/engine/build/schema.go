package build

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
)

// BeforeData creates on the target what must be there before the data and is not there yet. That takes many transactions: one
// that locks tens of thousands of relations finds no room for that on most servers.
func BeforeData(ctx context.Context, j *job.Job, s job.Sides) error {
	entries, err := schema.Pending(ctx, s.Target.Conn, schema.BeforeData)
	if err != nil {
		return err
	}
	if err := Entries(ctx, j, s.Target.Conn, entries...); err != nil {
		return err
	}
	if err := openIdentities(ctx, j, s); err != nil {
		return err
	}
	err = schema.TakeChecks(ctx, s.Target.Conn, func(tx pgx.Tx) error { return j.Ledger.CheckEpoch(ctx, tx) })
	if err != nil {
		return Failure(ctx, err)
	}
	return nil
}

// identitiesPerBatch bounds the locks that a transaction takes.
const identitiesPerBatch = 200

// openIdentities lets the apply write identity columns; the finalization makes them ALWAYS again.
func openIdentities(ctx context.Context, j *job.Job, s job.Sides) error {
	columns, err := catalog.AlwaysIdentities(ctx, s.Target.Conn)
	if err != nil {
		return err
	}
	wanted, err := catalog.AlwaysIdentities(ctx, s.Source.Conn)
	if err != nil {
		return err
	}
	fromSource := make(map[catalog.IdentityColumn]bool, len(wanted))
	for _, c := range wanted {
		fromSource[c] = true
	}
	columns = slices.DeleteFunc(columns, func(c catalog.IdentityColumn) bool { return !fromSource[c] })
	for batch := range slices.Chunk(columns, identitiesPerBatch) {
		err := pgx.BeginFunc(ctx, s.Target.Conn, func(tx pgx.Tx) error {
			if err := catalog.SetAllGenerated(ctx, tx, batch, "BY DEFAULT"); err != nil {
				return err
			}
			return j.Ledger.CheckEpoch(ctx, tx)
		})
		if err != nil {
			return Failure(ctx, err)
		}
	}
	return nil
}

// Built is the point at which an index was built.
const Built = "index built"

// Pending creates what of the schema has its time now, one by one: a transaction that builds several indexes would keep the
// changes of their tables waiting.
func Pending(ctx context.Context, j *job.Job, target *pgx.Conn, when schema.When) error {
	entries, err := schema.Pending(ctx, target, when)
	if err != nil {
		return err
	}
	for i := range entries {
		if err := Entries(ctx, j, target, entries[i]); err != nil {
			return err
		}
		j.Reached(Built)
	}
	return nil
}

// Entries runs statements of the schema and records them as done. It does not wait for the target's disk: the stage that the
// ledger goes to afterwards is stored so that all before it is too, and a crash before that takes back the records as well.
func Entries(ctx context.Context, j *job.Job, target *pgx.Conn, entries ...schema.Stored) error {
	err := schema.Create(ctx, target, entries, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		return j.Ledger.CheckEpoch(ctx, tx)
	})
	if err != nil {
		return Failure(ctx, err)
	}
	return nil
}

// Failure makes a failure.Failure of an error that another attempt would only meet again, and gives others back as they are.
func Failure(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if ctx.Err() != nil ||
		(errors.As(err, &pg) && database.TransientCode(pg.Code)) || (pg == nil && database.TransientConnection(err)) ||
		errors.Is(err, schema.ErrLockTableFull) || errors.Is(err, schema.ErrDeadlock) {
		return err
	}
	return &failure.Failure{
		Code:    failure.SchemaCopy,
		Message: "The schema could not be copied: " + err.Error(),
		Hint:    "Mend the object on the source or the target, then delete the replication with --clean-target and create it again.",
		Err:     err,
	}
}
