// Package build makes the schema of the target, entry by entry, each recorded in the ledger in the transaction that made it.
package build

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

const existingSQL = `
SELECT 'EXTENSION ' || extname FROM pg_catalog.pg_extension
UNION ALL
SELECT 'SCHEMA ' || nspname FROM pg_catalog.pg_namespace`

// Existing gives the extensions and schemas of the target, as [schema.Options] wants them.
func Existing(ctx context.Context, target *pgx.Conn) (map[string]bool, error) {
	rows, err := target.Query(ctx, existingSQL)
	if err != nil {
		return nil, fmt.Errorf("reading what the target holds: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("reading what the target holds: %w", err)
	}
	existing := make(map[string]bool, len(names))
	for _, name := range names {
		existing[name] = true
	}
	return existing, nil
}

// Dump dumps the schema of the source as a snapshot shows it, without what exists on the target.
func Dump(ctx context.Context, j *job.Job, source database.Endpoint, keeper *snapshot.Keeper, existing map[string]bool) (*schema.Dump, error) {
	environment, remove, err := source.Libpq()
	if err != nil {
		return nil, err
	}
	defer remove()
	tools := schema.Tools{PgDump: j.Settings.PgDump, PgRestore: j.Settings.PgRestore}
	dump, err := tools.Read(ctx, environment, schema.Options{
		Snapshot: keeper.Name, Encoding: database.Encoding(keeper.Conn()), ExcludeSchema: capture.Schema(j.ID), Existing: existing,
	})
	if err != nil {
		return nil, Failure(ctx, err)
	}
	if len(dump.LeftOptions) > 0 {
		j.Progress.Warn("Options of columns that only the source's server knows are left out: " + strings.Join(dump.LeftOptions, ", "))
	}
	return dump, nil
}

// Record makes the ledger on the target, with the schema that is to be made there.
func Record(ctx context.Context, j *job.Job, s job.Sides, method ledger.Method, reason string, from *snapshot.Anchor) error {
	fingerprint, err := catalog.ReadFingerprint(ctx, from.Keeper.Conn())
	if err != nil {
		return err
	}
	checks, err := schema.Checks(ctx, from.Keeper.Conn())
	if err != nil {
		return err
	}
	existing, err := Existing(ctx, s.Target.Conn)
	if err != nil {
		return err
	}
	dump, err := Dump(ctx, j, s.Source.Endpoint, from.Keeper, existing)
	if err != nil {
		return err
	}
	start := ledger.Start{
		Method: method, Reason: reason, History: from.History, Position: from.Keeper.LSN,
		DropSQL: dump.DropSQL, Tables: from.Tables, Fingerprint: fingerprint,
	}
	err = pgx.BeginFunc(ctx, s.Target.Conn, func(tx pgx.Tx) error {
		if err := j.Ledger.Create(ctx, tx, start); err != nil {
			return err
		}
		if err := schema.StoreChecks(ctx, tx, checks); err != nil {
			return err
		}
		return schema.Store(ctx, tx, dump, false)
	})
	if err != nil {
		return Failure(ctx, err)
	}
	return nil
}
