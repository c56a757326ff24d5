package stream

import (
	"context"
	"sync"

	"github.com/jackc/pglogrepl"
)

// gate is where an Apply can be made to stand between two source transactions, so that the target shows exactly those that
// commit before an LSN. The zero gate is open. It is safe for concurrent use.
type gate struct {
	mu       sync.Mutex
	closed   bool
	limit    pglogrepl.LSN // of a closed gate: transactions that commit at or after it wait
	standing bool          // the apply stands at the limit
	stands   chan struct{} // closed when it does
	moved    chan struct{} // closed when the gate is set anew
}

// Hold makes the apply stand before the next source transaction. When it gives nil, all that was applied is committed on the
// target and nothing more is until Advance or Resume. A transaction under way is applied to its end first. After an error
// the gate is open again.
func (a *Apply) Hold(ctx context.Context) error { return a.gate.stand(ctx, 0) }

// Advance lets an apply that is held go on with the transactions that commit before lsn, and makes it stand there. When it
// gives nil, the target holds these and no other. The source must have written something that is published after lsn, or
// the apply would wait for it. After an error the gate is open again.
func (a *Apply) Advance(ctx context.Context, lsn pglogrepl.LSN) error { return a.gate.stand(ctx, lsn) }

// Resume opens the gate. It can be called again.
func (a *Apply) Resume() { a.gate.set(false, 0) }

func (g *gate) stand(ctx context.Context, limit pglogrepl.LSN) error {
	stands := g.set(true, limit)
	select {
	case <-stands:
		return nil
	case <-ctx.Done():
		g.set(false, 0)
		return ctx.Err()
	}
}

func (g *gate) set(closed bool, limit pglogrepl.LSN) (stands <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.moved != nil {
		close(g.moved)
	}
	g.closed, g.limit, g.standing = closed, limit, false
	g.stands, g.moved = make(chan struct{}), make(chan struct{})
	return g.stands
}

// next gives a channel that is closed when the gate is set anew.
func (g *gate) next() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.moved == nil {
		g.moved = make(chan struct{})
	}
	return g.moved
}

// stops says whether a transaction that commits at lsn has to wait.
func (g *gate) stops(lsn pglogrepl.LSN) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed && lsn >= g.limit
}

// stood tells whoever set the gate that the apply stands at lsn, unless the gate was set anew meanwhile.
func (g *gate) stood(lsn pglogrepl.LSN) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed && lsn >= g.limit && !g.standing {
		g.standing = true
		close(g.stands)
	}
}

// pass waits between two source transactions as long as the gate stops what commits at lsn.
func (a *Apply) pass(ctx context.Context, lsn pglogrepl.LSN, received <-chan struct{}) error {
	for {
		moved := a.gate.next() // taken first, so that no change is missed
		if !a.gate.stops(lsn) {
			return nil
		}
		if err := a.commitAll(); err != nil {
			return err
		}
		a.gate.stood(lsn)
		select {
		case <-moved:
		case <-received:
			return errReceiverEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
