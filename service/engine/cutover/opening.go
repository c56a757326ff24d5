package cutover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/build"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
)

// errUnknownOutcome says that the connection broke during the commit that opens the target. The ledger knows; nothing on the
// source may be undone before it was asked.
var errUnknownOutcome = errors.New("the connection to the target was lost in the moment of the opening")

// errNotArmed says that what the triggers on the source are for is not there.
var errNotArmed = errors.New("the fence could not be armed")

// arm begins to put triggers on the source that will take the locks' place, while the target is made ready. Nobody sees them
// before open.
func (c *Cutover) arm(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	armed := make(chan error, 1)
	go func() {
		err := c.fence.Arm(ctx)
		if err != nil {
			err = fmt.Errorf("%w: %w", errNotArmed, err)
			c.giveUp(err) // nobody goes on in vain while writers are kept off
		}
		armed <- err
	}()
	c.armed = func(giveUp bool) error {
		if giveUp {
			cancel()
		}
		defer cancel()
		c.armed = nil
		return <-armed
	}
}

// prepareOpening begins the transaction that opens the target.
func (c *Cutover) prepareOpening(ctx context.Context) (err error) {
	if c.opening, err = c.sides.Target.Conn.Begin(ctx); err != nil {
		return fmt.Errorf("beginning the opening of the target: %w", err)
	}
	if err := c.finishSchema(ctx, c.opening); err != nil {
		return err
	}
	if c.armed == nil {
		c.arm(ctx)
	}
	return c.armed(false)
}

// open makes the target ready in one transaction, whose commit is the point of no return. Just before it, triggers on the
// source take the locks' place, so that a writer that waited for a lock is refused and not let through.
func (c *Cutover) open(ctx context.Context) error {
	if err := c.Job.Ledger.SetStage(ctx, c.opening, ledger.StageStream, ledger.StageOpened); err != nil {
		return err
	}
	if err := c.fence.Harden(ctx); err != nil {
		return err
	}
	c.Job.Reached(hardened)
	if err := c.opening.Commit(ctx); err != nil {
		if err := c.outcome(ctx, err); err != nil {
			return err
		}
	}
	c.pass(Opened)
	return nil
}

// outcome finds out what became of a commit whose answer did not arrive.
func (c *Cutover) outcome(ctx context.Context, commitErr error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	for {
		conn, err := c.Target.Connect(ctx)
		if err == nil {
			progress, err := c.Job.Ledger.TakeOver(ctx, conn)
			database.Close(ctx, conn)
			switch {
			case err == nil && progress.Stage == ledger.StageOpened:
				return nil
			case err == nil && progress.Stage == ledger.StageNone, errors.Is(err, ledger.ErrTakenOver):
				// Another worker has found the target opened, and has tidied up behind us; or it is about to find out.
				return fmt.Errorf("%w: %w", errUnknownOutcome, ledger.ErrTakenOver)
			case err == nil:
				return fmt.Errorf("opening the target: %w", commitErr)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errUnknownOutcome, commitErr)
		case <-time.After(job.RetryPause):
		}
	}
}

const populatedViewsSQL = `
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm'
  AND c.relispopulated
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
ORDER BY c.oid`

// finishSchema creates what would have acted on rows that are applied one by one: foreign keys, triggers, rules, policies.
// It also takes back what the replication needed, and fills the materialized views.
func (c *Cutover) finishSchema(ctx context.Context, tx pgx.Tx) error {
	identities, err := catalog.AlwaysIdentities(ctx, c.sides.Source.Conn)
	if err != nil {
		return err
	}
	if err := catalog.SetAllGenerated(ctx, tx, identities, "ALWAYS"); err != nil {
		return err
	}
	// The dump saw the replica identities that the replication had set on the source.
	changed, err := c.Job.Capture(c.sides.Source.Conn).Identities(ctx)
	if err != nil {
		return err
	}
	var restore strings.Builder
	for _, i := range changed {
		restore.WriteString(i.Statement() + ";\n")
	}
	if _, err := tx.Exec(ctx, restore.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("restoring replica identities on the target: %w", err)
	}
	entries, err := schema.Pending(ctx, tx, schema.Opening)
	if err != nil {
		return err
	}
	if err := schema.Create(ctx, tx, entries, nil); err != nil {
		return build.Failure(ctx, err)
	}
	broken, err := schema.ReturnChecks(ctx, tx)
	if err != nil {
		return build.Failure(ctx, err)
	}
	for _, err := range broken {
		c.Job.Progress.Warn("The " + err.Error())
	}
	return c.refreshViews(ctx, tx)
}

// refreshViews fills the materialized views that are filled on the source. One that reads another has to wait for it.
func (c *Cutover) refreshViews(ctx context.Context, tx pgx.Tx) error {
	rows, err := c.sides.Source.Conn.Query(ctx, populatedViewsSQL)
	if err != nil {
		return fmt.Errorf("reading the list of materialized views: %w", err)
	}
	views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var namespace, name string
		err := row.Scan(&namespace, &name)
		return pgx.Identifier{namespace, name}.Sanitize(), err
	})
	if err != nil {
		return fmt.Errorf("reading the list of materialized views: %w", err)
	}
	for len(views) > 0 {
		var waiting []string
		var last error
		for _, view := range views {
			err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
				// Without statistics the first queries would read it whole.
				_, err := savepoint.Exec(ctx, "REFRESH MATERIALIZED VIEW "+view+"; ANALYZE "+view, pgx.QueryExecModeSimpleProtocol)
				return err
			})
			if err != nil {
				waiting = append(waiting, view)
				last = fmt.Errorf("filling materialized view %s on the target: %w", view, err)
			}
		}
		if len(waiting) == len(views) {
			return last
		}
		views = waiting
	}
	return nil
}
