// Package logical carries changes by logical decoding (PostgreSQL manual, chapter 47): a publication and one slot with the
// plugin pgoutput, whose changes are applied by ordinary SQL.
package logical

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// Reason is shown for a source that can replicate.
const Reason = "the source has wal_level logical and its login may replicate"

// Logical is the method, as one attempt uses it. It is for one goroutine at a time.
type Logical struct {
	job     *job.Job
	sides   job.Sides
	capture capture.Source // by the source's session
}

// New gives the method to an attempt with these sessions.
func New(j *job.Job, s job.Sides) *Logical {
	return &Logical{job: j, sides: s, capture: j.Capture(s.Source.Conn)}
}

// Deferred says that tables are copied before the fence. Those are not that are unlogged.
func (*Logical) Deferred() bool { return false }

// Prepare makes the publication, and replica identities where there are none.
func (l *Logical) Prepare(ctx context.Context) error {
	tables, err := catalog.TablesNow(ctx, l.sides.Source.Conn)
	if err != nil {
		return err
	}
	return l.capture.Prepare(ctx, tables)
}

// slotTries is how many slots are made at most to get one during which no table was truncated or rewritten. PostgreSQL may be
// unable to decode what comes after such a one (failure.Undecodable), if transactions overlap in just that way.
const slotTries = 10

// Anchor makes the migration's slot and gives its snapshot.
func (l *Logical) Anchor(ctx context.Context) (*snapshot.Anchor, error) {
	l.job.Enter(progress.Snapshot)
	for try := 1; ; try++ {
		// A slot from a broken-off beginning is of no use: its snapshot is gone, and nothing was copied.
		if err := l.capture.DropSlot(ctx, l.sides.Source.Endpoint.ConnectReplication); err != nil {
			return nil, err
		}
		anchor, err := l.takeSnapshot(ctx, func(ctx context.Context, replication *pgconn.PgConn) (capture.Point, error) {
			return capture.CreateSlot(ctx, replication, l.job.ID)
		})
		if err != nil || !anchor.Rewritten {
			return anchor, err
		}
		if try == slotTries {
			l.job.Progress.Warn("Tables are truncated or rewritten all the time. The source may be unable to decode its WAL, which ends the replication")
			return anchor, nil
		}
		anchor.Close(ctx)
		l.job.Log.Info("a table was truncated or rewritten while the slot was made", "slots", try)
	}
}

// AnchorAgain takes the snapshot of a temporary slot: the tables that are copied from it take part in the stream from its
// position on.
func (l *Logical) AnchorAgain(ctx context.Context) (*snapshot.Anchor, error) {
	return l.takeSnapshot(ctx, func(ctx context.Context, replication *pgconn.PgConn) (capture.Point, error) {
		return capture.CreateTemporarySlot(ctx, replication, l.job.ID, "copy")
	})
}

// Check makes sure that the source is the server that was replicated, and has the slot still.
func (l *Logical) Check(ctx context.Context, known ledger.Progress) error {
	replication, err := l.sides.Source.Endpoint.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = replication.Close(context.WithoutCancel(ctx)) }()
	if err := checkHistory(ctx, l.capture, replication, known); err != nil {
		return err
	}
	state, err := checkSlot(ctx, l.capture)
	if err != nil {
		return err
	}
	if known.Flushed > 0 && known.Flushed < state.Confirmed {
		return &failure.Failure{
			Code:    failure.TargetReplaced,
			Message: fmt.Sprintf("The target was put back to an earlier state, or the replication slot was made anew: the target has what the source wrote up to %s, and the slot sends what comes after %s", known.Flushed, state.Confirmed),
			Hint:    failure.StartAgain,
		}
	}
	return nil
}

// Release drops the slot and the publication, and gives tables their replica identities back.
func (l *Logical) Release(ctx context.Context) error {
	if err := l.capture.DropSlot(ctx, l.sides.Source.Endpoint.ConnectReplication); err != nil {
		return err
	}
	return l.capture.Unpublish(ctx)
}

// takeSnapshot creates a slot and gives its snapshot and the tables in it. The tables' filenodes are those of before the slot,
// so that a later verification shows every rewrite. The caller closes it.
func (l *Logical) takeSnapshot(ctx context.Context, create func(context.Context, *pgconn.PgConn) (capture.Point, error)) (*snapshot.Anchor, error) {
	before, err := catalog.TablesNow(ctx, l.sides.Source.Conn)
	if err != nil {
		return nil, err
	}
	replication, err := l.sides.Source.Endpoint.ConnectReplication(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = replication.Close(context.WithoutCancel(ctx)) }()
	history, _, err := capture.Identify(ctx, replication)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, l.job.Settings.SlotWait)
	defer cancel()
	point, err := create(limited, replication)
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return nil, &failure.Failure{
				Code:    failure.Timeout,
				Message: "The replication slot could not be created in " + l.job.Settings.SlotWait.String() + ": a write transaction on the source does not end",
				Hint:    "End long-running transactions on the source, then delete the replication and create it again.",
			}
		}
		return nil, err
	}
	keeper, err := snapshot.Keep(ctx, l.sides.Source.Endpoint.Connect, point.Snapshot, point.LSN)
	if err != nil {
		return nil, err
	}
	tables, err := catalog.Tables(ctx, keeper.Conn())
	if err == nil && !sameTables(before, tables) {
		err = snapshot.ErrMoved
	}
	if err != nil {
		keeper.Close(ctx)
		return nil, err
	}
	if err := l.wantCarried(ctx, keeper, tables); err != nil {
		keeper.Close(ctx)
		return nil, err
	}
	anchor := &snapshot.Anchor{Keeper: keeper, History: history, Tables: tables}
	for i := range tables {
		anchor.Rewritten = anchor.Rewritten || tables[i].Filenode != before[i].Filenode
		tables[i].Filenode = before[i].Filenode
	}
	return anchor, nil
}
