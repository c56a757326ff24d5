package logical

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// holdLimit is how long the apply may stand for the sake of a moment. Usually it is some tens of milliseconds.
const holdLimit = 2 * time.Second

// Moment takes the moment of now; each thing that it waits for may take as long as patience. Errors: trust.ErrNoMoment. The
// caller closes it.
func (f *following) Moment(ctx context.Context, patience time.Duration) (*trust.Moment, error) {
	source, err := f.source.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer database.Close(ctx, source)
	replication, err := f.source.ConnectReplication(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = replication.Close(context.WithoutCancel(ctx)) }() // and with it its slot
	target, err := f.target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			database.Close(ctx, target)
		}
	}()
	c := f.job.Capture(source)
	// What would hold up the slot is waited for before the apply stands.
	if err = within(ctx, patience, c.AwaitWriters); err != nil {
		return nil, err
	}
	signs, err := catalog.Signs(ctx, source)
	if err != nil {
		return nil, err
	}
	m := &trust.Moment{DialSource: f.source.Connect, DialTarget: f.target.Connect, Signs: signs}
	name, err := f.hold(ctx, m, c, replication, target, patience)
	if err != nil {
		return nil, err
	}
	if m.Source, err = snapshot.Keep(ctx, f.source.Connect, name, m.LSN); err != nil {
		return nil, err
	}
	return m, nil
}

// hold makes a slot while the apply stands, lets the apply go on up to the slot's position, and takes the target's snapshot.
// It gives the name of the source's. The order matters: made before the apply stands, the slot's position might be passed
// already.
func (f *following) hold(ctx context.Context, m *trust.Moment, c capture.Source, replication *pgconn.PgConn, target *pgx.Conn, patience time.Duration) (name string, err error) {
	if err := within(ctx, patience, f.apply.Hold); err != nil {
		return "", err
	}
	defer f.apply.Resume()
	stood := time.Now()
	err = within(ctx, holdLimit, func(ctx context.Context) error {
		point, err := capture.CreateTemporarySlot(ctx, replication, c.ID, "verify")
		m.LSN, name = point.LSN, point.Snapshot
		return err
	})
	if err != nil {
		return "", err
	}
	if _, err := c.Beat(ctx); err != nil { // something that the apply meets behind the position
		return "", err
	}
	m.Stall = time.Since(stood)
	if err := within(ctx, patience, func(ctx context.Context) error { return f.apply.Advance(ctx, m.LSN) }); err != nil {
		return "", err
	}
	stood = time.Now()
	m.Target, err = snapshot.KeepCurrent(ctx, target, m.LSN)
	m.Stall += time.Since(stood)
	return name, err
}

// within calls do with a limited time, and gives trust.ErrNoMoment when it is over.
func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return trust.ErrNoMoment
	}
	return err
}
