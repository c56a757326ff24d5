package engine

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// moment is one position of the source's WAL as both sides show it, while writers and the apply go on.
type moment struct {
	lsn            pglogrepl.LSN
	source, target *snapshot.Keeper
	stall          time.Duration // how long the apply stood for it
}

// holdLimit is how long the apply may stand for the sake of a moment. Usually it is some tens of milliseconds.
const holdLimit = 2 * time.Second

// errNoMoment says that no moment could be taken in time, usually because the creation of a slot waits for all write
// transactions on the source.
var errNoMoment = errors.New("a write transaction on the source does not end, or the changes cannot be applied quickly enough")

// takeMoment takes the moment of now; each thing that it waits for may take as long as patience. Errors: errNoMoment. The
// caller closes it.
func (l *live) takeMoment(ctx context.Context, migration string, patience time.Duration) (*moment, error) {
	source, err := l.source.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, source)
	replication, err := l.source.ConnectReplication(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = replication.Close(context.WithoutCancel(ctx)) }() // and with it its slot
	target, err := l.target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeConn(ctx, target)
		}
	}()
	c := capture.Source{ID: migration, Conn: source}
	// What would hold up the slot is waited for before the apply stands.
	if err = within(ctx, patience, c.AwaitWriters); err != nil {
		return nil, err
	}
	m := &moment{}
	name, err := l.hold(ctx, m, c, replication, target, patience)
	if err != nil {
		return nil, err
	}
	if m.source, err = snapshot.Keep(ctx, l.source.Connect, name, m.lsn); err != nil {
		return nil, err
	}
	return m, nil
}

// hold makes a slot while the apply stands, lets the apply go on up to the slot's position, and takes the target's snapshot.
// It gives the name of the source's. The order matters: made before the apply stands, the slot's position might be passed
// already.
func (l *live) hold(ctx context.Context, m *moment, c capture.Source, replication *pgconn.PgConn, target *pgx.Conn, patience time.Duration) (name string, err error) {
	if err := within(ctx, patience, l.apply.Hold); err != nil {
		return "", err
	}
	defer l.apply.Resume()
	stood := time.Now()
	err = within(ctx, holdLimit, func(ctx context.Context) error {
		point, err := capture.CreateTemporarySlot(ctx, replication, c.ID, "verify")
		m.lsn, name = point.LSN, point.Snapshot
		return err
	})
	if err != nil {
		return "", err
	}
	if _, err := c.Beat(ctx); err != nil { // something that the apply meets behind the position
		return "", err
	}
	m.stall = time.Since(stood)
	if err := within(ctx, patience, func(ctx context.Context) error { return l.apply.Advance(ctx, m.lsn) }); err != nil {
		return "", err
	}
	stood = time.Now()
	m.target, err = snapshot.KeepCurrent(ctx, target, m.lsn)
	m.stall += time.Since(stood)
	return name, err
}

// within calls do with a limited time, and gives errNoMoment when it is over.
func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return errNoMoment
	}
	return err
}

func (m *moment) close(ctx context.Context) {
	m.source.Close(ctx)
	m.target.Close(ctx)
}
