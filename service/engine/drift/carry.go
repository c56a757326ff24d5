package drift

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/build"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// State is the schema of the source at one moment.
type State struct {
	fingerprint catalog.Fingerprint
	stamp       string
}

// Unchanged makes sure that nothing at all of the schema has changed since then, and gives the state of now. The stamp says
// whether something may have; what, if it is not in the fingerprint, a dump says, compared with the one that the target has.
func (then State) Unchanged(ctx context.Context, j *job.Job, s job.Sides) (now State, err error) {
	stamp, err := catalog.ReadStamp(ctx, s.Source.Conn)
	if err != nil || stamp == then.stamp {
		return then, err
	}
	earlier, err := schema.StoredDump(ctx, s.Target.Conn)
	if err != nil {
		return then, err
	}
	now, later, err := dumpAgain(ctx, j, s, earlier)
	if err != nil {
		return then, err
	}
	changes := then.fingerprint.Changes(now.fingerprint)
	if err := judge(j, changes); err != nil {
		return then, err
	}
	what := list(changes)
	if what == "" {
		what = named(schema.Compare(earlier.Before, later.Before), schema.Compare(earlier.After, later.After))
	}
	if what == "" {
		return now, nil
	}
	return then, &failure.Failure{
		Code:    failure.SchemaChanged,
		Message: "The schema of the source was changed during the finalization: " + what,
		Hint:    failure.FinalizeAgain,
	}
}

// named names what is different between dumps.
func named(differences ...schema.Difference) string {
	var names []string
	for _, d := range differences {
		for _, kind := range []struct {
			entries []schema.Entry
			verb    string
		}{{d.Added, "added"}, {d.Changed, "changed"}, {d.Removed, "removed"}} {
			for _, e := range kind.entries {
				names = append(names, e.String()+" was "+kind.verb)
			}
		}
	}
	if more := len(names) - namedChanges; more > 0 {
		names = append(names[:namedChanges], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// Carry brings over what was changed in the source's schema since it was copied, as far as rows do not mind it, and gives the
// state that the target's schema has by then. A dump made now is compared with the one that was copied, so that a change is
// found which the fingerprint does not show, such as that of a policy. Indexes are made now, unless the target's tables are
// still empty: then they come after the rows.
func Carry(ctx context.Context, j *job.Job, s job.Sides, empty bool) (now State, err error) {
	copied, err := j.Ledger.Fingerprint(ctx, s.Target.Conn)
	if err != nil {
		return now, err
	}
	earlier, err := schema.StoredDump(ctx, s.Target.Conn)
	if err != nil {
		return now, err
	}
	now, later, err := dumpAgain(ctx, j, s, earlier)
	if err != nil {
		return now, err
	}
	changes := copied.Changes(now.fingerprint)
	if err := judge(j, changes); err != nil {
		return now, err
	}
	before, after := schema.Compare(earlier.Before, later.Before), schema.Compare(earlier.After, later.After)
	if len(changes) == 0 && before.Empty() && after.Empty() {
		return now, nil
	}
	steps, err := plan(ctx, j, s.Target.Conn, changes, before, after)
	if err != nil {
		return now, err
	}
	err = pgx.BeginFunc(ctx, s.Target.Conn, func(tx pgx.Tx) error {
		if err := runInAnyOrder(ctx, tx, steps); err != nil {
			return err
		}
		if err := schema.Replace(ctx, tx, later); err != nil {
			return err
		}
		return j.Ledger.SchemaCarried(ctx, tx, later.DropSQL, now.fingerprint)
	})
	if err != nil || empty {
		return now, err
	}
	return now, buildPending(ctx, j, s.Target.Conn)
}

// dumpAgain dumps the schema of the source as it is now, without what the target had before the migration.
func dumpAgain(ctx context.Context, j *job.Job, s job.Sides, earlier *schema.Dump) (now State, dump *schema.Dump, err error) {
	// Before the snapshot, so that whatever is changed meanwhile is another stamp; and not in its transaction, which would hold the
	// locks of all catalogs while pg_dump takes its own.
	if now.stamp, err = catalog.ReadStamp(ctx, s.Source.Conn); err != nil {
		return now, nil, err
	}
	conn, err := s.Source.Endpoint.Connect(ctx)
	if err != nil {
		return now, nil, err
	}
	keeper, err := snapshot.KeepCurrent(ctx, conn, 0)
	if err != nil {
		return now, nil, err
	}
	defer keeper.Close(ctx)
	if now.fingerprint, err = catalog.ReadFingerprint(ctx, keeper.Conn()); err != nil {
		return now, nil, err
	}
	existing, err := build.Existing(ctx, s.Target.Conn)
	if err != nil {
		return now, nil, err
	}
	for _, e := range earlier.Before {
		delete(existing, e.Kind+" "+e.Name) // we have made it
	}
	dump, err = build.Dump(ctx, j, s.Source.Endpoint, keeper, existing)
	return now, dump, err
}

// change is a step that brings one change over.
type change struct {
	doing string
	sql   string
}

// plan says how each difference is brought over. What has no way is named as a warning: rows do not mind it.
func plan(ctx context.Context, j *job.Job, target *pgx.Conn, changes []catalog.Change, before, after schema.Difference) ([]change, error) {
	var steps []change
	skip := func(e schema.Entry, verb string) {
		j.Progress.Warn(fmt.Sprintf("On the source %s was %s during the replication; this is not brought over", e, verb))
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
	drops, err := dropRoutines(ctx, target, changes)
	return append(steps, drops...), err
}

const routinesSQL = `
SELECT p.oid::pg_catalog.regprocedure::text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE 'function ' || n.nspname || '.' || p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' = ANY ($1)`

// dropRoutines drops the functions that are gone from the source, by the names that the target has for them.
func dropRoutines(ctx context.Context, target *pgx.Conn, changes []catalog.Change) ([]change, error) {
	var gone []string
	for _, c := range changes {
		if c.New == "" && strings.HasPrefix(c.Object, "function ") {
			gone = append(gone, c.Object)
		}
	}
	rows, err := target.Query(ctx, routinesSQL, gone)
	if err != nil {
		return nil, fmt.Errorf("looking for functions on the target: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("looking for functions on the target: %w", err)
	}
	word := "ROUTINE"
	if catalog.Major(target) < 11 {
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
				last = fmt.Errorf("%s on the target: %w", s.doing, err)
			}
		}
		if len(failed) == len(steps) {
			err := build.Failure(ctx, last)
			if f := failure.Of(err); f != nil {
				f.Code, f.Message = failure.SchemaChanged, "A change of the source's schema could not be brought over: "+last.Error()
				f.Hint = failure.StartAgain
			}
			return err
		}
		steps = failed
	}
	return nil
}

// buildPending creates the indexes that came with a changed schema. Changes of their tables wait meanwhile, nobody else does.
func buildPending(ctx context.Context, j *job.Job, target *pgx.Conn) error {
	for _, when := range []schema.When{schema.Statistics, schema.Indexes, schema.Attachments} {
		if err := build.Pending(ctx, j, target, when); err != nil {
			return err
		}
	}
	return nil
}
