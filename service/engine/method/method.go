// Package method says what a way of carrying changes has to offer: how a migration learns what is changed on the source after
// the first snapshot. Each way is a folder of its own; methodtest holds all of them to the same tests.
package method

import (
	"context"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// Method is one way, as one attempt uses it with its sessions. It is for one goroutine at a time.
type Method interface {
	// Deferred says that nothing is carried before the fence: all tables are copied under it.
	Deferred() bool

	// Prepare makes on the source what the method needs there, and can be called again after it was broken off. Whatever another
	// method may have left behind is taken away.
	Prepare(ctx context.Context) error
	// Anchor takes the first snapshot, with the position at which the changes begin that Follow carries. What an earlier call has
	// made is replaced. The caller closes it.
	Anchor(ctx context.Context) (*snapshot.Anchor, error)
	// AnchorAgain takes a later snapshot, for tables that are to be copied again while the others go on. The caller closes it.
	AnchorAgain(ctx context.Context) (*snapshot.Anchor, error)
	// While calls do, which takes long, and ends it with a *failure.Failure when the source loses meanwhile what the method needs.
	While(ctx context.Context, do func(context.Context) error) error
	// Check makes sure that the source is still the one that the ledger knows, and that no change is lost; else it gives a
	// *failure.Failure.
	Check(ctx context.Context, known ledger.Progress) error
	// Follow begins to carry changes, from where the ledger says. It goes on until it is stopped or ctx ends, and may use the
	// attempt's sessions until then, but for the source's.
	Follow(ctx context.Context) (Following, error)
	// Because gives the better reason for tables that turned out to be different, if the method knows of one that is nobody's fault;
	// else the cause itself. No following is at work.
	Because(ctx context.Context, cause error) error
	// Release takes away from the source what Prepare and Anchor made there, but for our records. It can be called again.
	Release(ctx context.Context) error
}

// Following is a method at work. It is safe for concurrent use.
type Following interface {
	// Moment takes a moment for a verification while writers work, as trust.Moments wants it. Errors: trust.ErrNoMoment, also from
	// a method that has none: the verification then waits for the fence.
	Moment(ctx context.Context, patience time.Duration) (*trust.Moment, error)

	// Done is closed when no change is carried any more.
	Done() <-chan struct{}
	// Err says why, once Done is closed; nil: Stop was called.
	Err() error
	// Stop ends the work, and waits for it. It gives Err.
	Stop() error
	// Drain waits until everything that was written before it was called is on the target. The source, with which the caller has a
	// session, is fenced. An end of the following meanwhile is Interrupted.
	Drain(ctx context.Context, source *pgx.Conn) error
	// Position is up to where the target shows the source's transactions; 0 where there are no positions.
	Position() pglogrepl.LSN
}

// Interrupted says that the following ended by itself while a cutover needed it.
func Interrupted(cause error) error {
	return &failure.Failure{
		Code:    failure.Database,
		Message: "The replication was interrupted during the finalization",
		Hint:    "Run 'cf pg-migrate create-finalization' again when the replication is IN-SYNC.",
		Err:     cause,
	}
}
