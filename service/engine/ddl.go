package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// namedChanges bounds the list in a message.
const namedChanges = 10

// schemaWatch compares the schema of the source with the one that was copied, again and again.
type schemaWatch struct {
	*Replication
	copied catalog.Fingerprint
	stamp  string // of the source's schema when it was compared last
}

// check names a change that rows do not mind as a warning, and the finalization brings it over; another one is a *Failure.
func (w *schemaWatch) check(ctx context.Context, source catalog.Querier) error {
	stamp, err := catalog.ReadStamp(ctx, source)
	if err != nil || stamp == w.stamp {
		return err
	}
	now, err := catalog.ReadFingerprint(ctx, source)
	if err != nil {
		return err
	}
	w.stamp = stamp
	return w.judge(w.copied.Changes(now))
}

// judge warns of harmless changes and gives a failure for the others.
func (r *Replication) judge(changes []catalog.Change) error {
	if harmful := slices.DeleteFunc(slices.Clone(changes), catalog.Change.Harmless); len(harmful) > 0 {
		return &Failure{
			Code:    CodeSchemaChanged,
			Message: "The schema of the source was changed during the replication: " + list(harmful),
			Hint:    "Undo the change and start again, or start again with the changed schema. " + startAgain,
		}
	}
	if len(changes) > 0 {
		r.warn("The schema of the source was changed, which the finalization brings over: " + list(changes))
	}
	return nil
}

// list names some of the changes.
func list(changes []catalog.Change) string {
	var names []string
	for i, c := range changes {
		if i == namedChanges {
			names = append(names, fmt.Sprintf("and %d more", len(changes)-namedChanges))
			break
		}
		names = append(names, c.String())
	}
	return strings.Join(names, ", ")
}

// state is the schema of the source at one moment.
type state struct {
	fingerprint catalog.Fingerprint
	stamp       string
}

// unchanged makes sure that nothing at all of the schema has changed since then.
func (f *finalization) unchanged(ctx context.Context, then state) error {
	stamp, err := catalog.ReadStamp(ctx, f.source)
	if err != nil || stamp == then.stamp {
		return err
	}
	now, err := catalog.ReadFingerprint(ctx, f.source)
	if err != nil {
		return err
	}
	changes := then.fingerprint.Changes(now)
	if err := f.judge(changes); err != nil || len(changes) == 0 {
		return err
	}
	return &Failure{
		Code:    CodeSchemaChanged,
		Message: "The schema of the source was changed during the finalization: " + list(changes),
		Hint:    "Run 'cf pg-migrate create-finalization' again.",
	}
}

// carrySchema brings over what was changed in the source's schema since it was copied, as far as rows do not mind it, and
// gives the state that the target's schema has by then. A dump made now is compared with the one that was copied, so
// that a change is found which the fingerprint does not show, such as that of a policy.
func (f *finalization) carrySchema(ctx context.Context) (now state, err error) {
	copied, err := f.ledger.Fingerprint(ctx, f.target)
	if err != nil {
		return now, err
	}
	earlier, err := schema.StoredDump(ctx, f.target)
	if err != nil {
		return now, err
	}
	now, later, err := f.dumpAgain(ctx, earlier)
	if err != nil {
		return now, err
	}
	changes := copied.Changes(now.fingerprint)
	if err := f.judge(changes); err != nil {
		return now, err
	}
	before, after := schema.Compare(earlier.Before, later.Before), schema.Compare(earlier.After, later.After)
	if len(changes) == 0 && before.Empty() && after.Empty() {
		return now, nil
	}
	steps, err := f.planChanges(ctx, changes, before, after)
	if err != nil {
		return now, err
	}
	err = pgx.BeginFunc(ctx, f.target, func(tx pgx.Tx) error {
		if err := runInAnyOrder(ctx, tx, steps); err != nil {
			return err
		}
		if err := schema.Replace(ctx, tx, later); err != nil {
			return err
		}
		return f.ledger.SchemaCarried(ctx, tx, later.DropSQL, now.fingerprint)
	})
	if err != nil {
		return now, err
	}
	if f.offline() {
		return now, nil // its tables are still empty: indexes come later
	}
	return now, f.buildPending(ctx)
}

// dumpAgain dumps the schema of the source as it is now, without what the target had before the migration.
func (f *finalization) dumpAgain(ctx context.Context, earlier *schema.Dump) (now state, dump *schema.Dump, err error) {
	conn, err := f.live.source.Connect(ctx)
	if err != nil {
		return now, nil, err
	}
	keeper, err := snapshot.KeepCurrent(ctx, conn, 0)
	if err != nil {
		closeConn(ctx, conn)
		return now, nil, err
	}
	defer keeper.Close(ctx)
	if now.fingerprint, err = catalog.ReadFingerprint(ctx, keeper.Conn()); err != nil {
		return now, nil, err
	}
	if now.stamp, err = catalog.ReadStamp(ctx, keeper.Conn()); err != nil {
		return now, nil, err
	}
	existing, err := existingOnTarget(ctx, f.target)
	if err != nil {
		return now, nil, err
	}
	for _, e := range earlier.Before {
		delete(existing, e.Kind+" "+e.Name) // we have made it
	}
	connection, remove, err := f.live.source.libpq()
	if err != nil {
		return now, nil, err
	}
	defer remove()
	tools := schema.Tools{PgDump: f.engine.Settings.PgDump, PgRestore: f.engine.Settings.PgRestore}
	dump, err = tools.Read(ctx, connection, schema.Options{
		Snapshot: keeper.Name, Encoding: clientEncoding(keeper.Conn()), ExcludeSchema: capture.Schema(f.migration.ID), Existing: existing,
	})
	if err != nil {
		return now, nil, schemaFailure(ctx, err)
	}
	return now, dump, nil
}

// change is a step that brings one change over.
type change struct {
	what string
	sql  string
}

// planChanges says how each difference is brought over. What has no way is named as a warning: rows do not mind it.
func (f *finalization) planChanges(ctx context.Context, changes []catalog.Change, before, after schema.Difference) ([]change, error) {
	var steps []change
	skip := func(e schema.Entry, verb string) {
		f.warn(fmt.Sprintf("On the source %s was %s during the replication; this is not brought over", e, verb))
	}
	for _, e := range before.Removed {
		switch drop := e.Drop(); {
		case drop != "":
			steps = append(steps, change{"dropping " + e.String(), drop})
		case e.Kind != "FUNCTION" && e.Kind != "PROCEDURE" && e.Kind != "AGGREGATE":
			skip(e, "removed")
		}
	}
	for _, e := range slices.Concat(after.Removed, after.Changed) {
		if e.When() != schema.Opening && e.Drop() != "" { // the others are not created yet
			steps = append(steps, change{"dropping " + e.String(), e.Drop()})
		}
	}
	for _, e := range before.Added {
		steps = append(steps, change{"creating " + e.String(), e.Creating()})
	}
	for _, e := range before.Changed {
		switch {
		case e.Kind == "MATERIALIZED VIEW":
			steps = append(steps, change{"changing " + e.String(), e.Drop() + ";\n" + e.Statements})
		case e.Replacing() != "":
			steps = append(steps, change{"changing " + e.String(), e.Replacing()})
		default:
			skip(e, "changed")
		}
	}
	drops, err := f.dropRoutines(ctx, changes)
	return append(steps, drops...), err
}

const routinesSQL = `
SELECT p.oid::pg_catalog.regprocedure::text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE 'function ' || n.nspname || '.' || p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' = ANY ($1)`

// dropRoutines drops the functions that are gone from the source, by the names that the target has for them.
func (f *finalization) dropRoutines(ctx context.Context, changes []catalog.Change) ([]change, error) {
	var gone []string
	for _, c := range changes {
		if c.New == "" && strings.HasPrefix(c.Object, "function ") {
			gone = append(gone, c.Object)
		}
	}
	rows, err := f.target.Query(ctx, routinesSQL, gone)
	if err != nil {
		return nil, fmt.Errorf("looking for functions on the target: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("looking for functions on the target: %w", err)
	}
	word := "ROUTINE"
	if catalog.Major(f.target) < 11 {
		word = "FUNCTION"
	}
	var steps []change
	for _, name := range names {
		steps = append(steps, change{"dropping function " + name, "DROP " + word + " " + name})
	}
	return steps, nil
}

// runInAnyOrder runs the steps. One that fails is tried again after the others, because it may depend on them; when no
// step succeeds any more, it is a *Failure.
func runInAnyOrder(ctx context.Context, tx pgx.Tx, steps []change) error {
	for len(steps) > 0 {
		var failed []change
		var last error
		for _, s := range steps {
			err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
				return schema.Run(ctx, savepoint, s.sql)
			})
			if err != nil {
				failed = append(failed, s)
				last = fmt.Errorf("%s on the target: %w", s.what, err)
			}
		}
		if len(failed) == len(steps) {
			failure := schemaFailure(ctx, last)
			if f, is := failure.(*Failure); is { //nolint:errorlint // made in the line above
				f.Code, f.Message = CodeSchemaChanged, "A change of the source's schema could not be brought over: "+last.Error()
				f.Hint = startAgain
			}
			return failure
		}
		steps = failed
	}
	return nil
}

// buildPending creates the indexes that came with a changed schema. Changes of their tables wait meanwhile, nobody else does.
func (f *finalization) buildPending(ctx context.Context) error {
	for _, when := range []schema.When{schema.Statistics, schema.Indexes, schema.Attachments} {
		if err := f.attempt().createPending(ctx, f.target, when); err != nil {
			return err
		}
	}
	return nil
}
