// Package stream carries changes: it reads the source's slot by logical replication (pgoutput, protocol version 1) and
// applies every transaction to the target exactly once, in commit order.
package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/semaphore"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/socket"
)

const (
	// statusInterval is how often the source is told what it may forget. It is far below the source's wal_sender_timeout, 60 s unless
	// somebody changed it.
	statusInterval = time.Second
	// budgetBytes bounds what is in memory, from the source's socket until the target has taken it. Only a single change that is
	// larger comes on top, alone.
	budgetBytes = 24 << 20
	// largeMessage is the size from which on a message is not even read before there is room for it.
	largeMessage = 1 << 20
	// slabChanges is the number of changes that are handed to the apply at once, if so many are there.
	slabChanges = 500
	// pause is how long the receiver lets the source go on when it has read everything. The source sends every change on its own,
	// and to wake up for each would cost more than all the rest.
	pause = 5 * time.Millisecond
	// pauseBytes is how much must have come since the last pause to read on without one: it is not the small messages that cost then.
	pauseBytes = 64 << 10

	// What a change takes in memory beside its message, about.
	changeBytes, columnBytes = 300, 40
)

// receiver reads the slot ahead of the apply. Only its goroutine uses the connection.
type receiver struct {
	conn *pgconn.PgConn
	in   wire
	// confirm is how far the target, and its ledger, have stored the changes durably: the source may forget what lies before it.
	confirm *atomic.Uint64
	seen    pglogrepl.LSN // up to which the source has sent its WAL in this session
	due     time.Time     // when the source is to be told
	queue   chan []*change
	budget  *semaphore.Weighted
}

func newReceiver(conn *pgconn.PgConn, confirm *atomic.Uint64, budget *semaphore.Weighted) (*receiver, error) {
	from, err := socket.Reader(conn)
	if err != nil {
		return nil, err
	}
	return &receiver{conn: conn, in: wire{from: from}, confirm: confirm, queue: make(chan []*change, 100), budget: budget}, nil
}

// run reads until ctx ends or the connection breaks.
func (r *receiver) run(ctx context.Context, slot string) error {
	stop := context.AfterFunc(ctx, func() { _ = r.conn.Conn().SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := r.start(slot); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("starting to read replication slot %s: %w", slot, err))
	}
	defer r.lastStatus(ctx)
	for {
		if !time.Now().Before(r.due) {
			if err := r.sendStatus(ctx); err != nil {
				return err
			}
		}
		slab, err := r.receive(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading the replication slot: %w", err)
		}
		if err := r.put(ctx, slab); err != nil {
			return err
		}
		if !r.in.ready() {
			if r.in.came < pauseBytes {
				nudgeAt(r.conn.Conn(), wireBlock)
				time.Sleep(pause)
				nudgeAt(r.conn.Conn(), 1)
			}
			r.in.came = 0
		}
	}
}

// start makes the source stream. The answers are read past pgconn, whose buffer would keep the first changes.
func (r *receiver) start(slot string) error {
	sql := "START_REPLICATION SLOT " + pgx.Identifier{slot}.Sanitize() + " LOGICAL 0/0 (proto_version '1', publication_names '" + slot + "')"
	r.conn.Frontend().SendQuery(&pgproto3.Query{String: sql})
	if err := r.conn.Frontend().Flush(); err != nil {
		return err
	}
	for {
		kind, body, err := r.in.take()
		if err != nil {
			return err
		}
		switch kind {
		case 'W': // CopyBothResponse
			return nil
		case 'E':
			return errorResponse(body)
		case 'N', 'S': // NoticeResponse, ParameterStatus
		default:
			return fmt.Errorf("unexpected answer %q of the source", kind)
		}
	}
}

func errorResponse(body []byte) error {
	var response pgproto3.ErrorResponse
	if err := response.Decode(body); err != nil {
		return err
	}
	return pgconn.ErrorResponseToPgError(&response)
}

// receive waits for changes and gives all that are there, at most a slab of them. Their part of the budget is taken.
func (r *receiver) receive(ctx context.Context) (slab []*change, err error) {
	length, err := r.in.peek()
	if err != nil {
		return nil, err
	}
	if length >= largeMessage {
		weight := min(int64(length), budgetBytes)
		if err := r.acquire(ctx, weight); err != nil {
			return nil, err
		}
		c, err := r.large(ctx)
		if c == nil || err != nil {
			r.budget.Release(weight)
			return nil, err
		}
		c.weight = weight
		return []*change{c}, nil
	}
	total := int64(0)
	for {
		c, err := r.message()
		if err != nil {
			return nil, err
		}
		if c != nil {
			c.weight = int64(c.size + changeBytes + columnBytes*(len(c.row)+len(c.old)))
			total += c.weight
			slab = append(slab, c)
		}
		if len(slab) >= slabChanges || total >= largeMessage || !r.in.ready() {
			return slab, r.acquire(ctx, total)
		}
		if length, err := r.in.peek(); err == nil && length >= largeMessage {
			return slab, r.acquire(ctx, total)
		}
	}
}

// large reads a message that takes so long to come that the source may want to hear something meanwhile.
func (r *receiver) large(ctx context.Context) (*change, error) {
	for {
		c, err := r.message()
		var timeout net.Error
		if ctx.Err() != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			return c, err
		}
		if err := r.sendStatus(ctx); err != nil {
			return nil, err
		}
	}
}

// message reads one message, nil when it has no change.
func (r *receiver) message() (*change, error) {
	kind, body, err := r.in.take()
	if err != nil {
		return nil, err
	}
	switch kind {
	case 'd': // CopyData
		c, seen, statusWanted, err := unwrap(body)
		if r.seen = max(r.seen, seen); statusWanted {
			r.due = time.Time{}
		}
		return c, err
	case 'E':
		return nil, errorResponse(body)
	case 'c': // CopyDone
		return nil, ErrSourceEnded
	default: // notices and parameters
		return nil, nil
	}
}

// unwrap gives the change in a CopyData message (PostgreSQL manual, 54.4: XLogData 'w' and keepalive 'k').
func unwrap(data []byte) (c *change, seen pglogrepl.LSN, statusWanted bool, err error) {
	if len(data) == 0 {
		return nil, 0, false, errors.New("empty message")
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		k, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return nil, 0, false, fmt.Errorf("decoding a keepalive: %w", err)
		}
		return &change{message: keepalive, end: k.ServerWALEnd}, k.ServerWALEnd, k.ReplyRequested, nil
	case pglogrepl.XLogDataByteID:
		wal, err := pglogrepl.ParseXLogData(data[1:])
		if err != nil {
			return nil, 0, false, err
		}
		c, err := decode(wal.WALData)
		return c, wal.WALStart, false, err
	default:
		return nil, 0, false, fmt.Errorf("unknown message %q", data[0])
	}
}

// acquire waits for room in the budget, and goes on sending the status meanwhile: a target that is busy with a large
// transaction must not make the source cut the connection.
func (r *receiver) acquire(ctx context.Context, weight int64) error {
	for !r.budget.TryAcquire(weight) {
		waiting, cancel := context.WithTimeout(ctx, statusInterval)
		err := r.budget.Acquire(waiting, weight)
		cancel()
		if err == nil {
			return nil
		}
		if err := r.sendStatus(ctx); err != nil {
			return err
		}
	}
	return nil
}

// put hands changes to the apply, as acquire does.
func (r *receiver) put(ctx context.Context, slab []*change) error {
	if len(slab) == 0 {
		return nil
	}
	for {
		select {
		case r.queue <- slab:
			return nil
		default:
		}
		select {
		case r.queue <- slab:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(statusInterval):
			if err := r.sendStatus(ctx); err != nil {
				return err
			}
		}
	}
}

// lastStatus saves the source from sending again what the target has, if the connection still works.
func (r *receiver) lastStatus(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.conn.Conn().SetWriteDeadline(time.Now().Add(time.Second))
	_ = r.sendStatus(ctx)
}

// sendStatus also sets the time until which reading waits at most.
//
// It confirms nothing that the source has not sent in this session, even if the target has it from an earlier one. The source
// would at once let go of WAL and of catalog rows that it is still reading its way through ("could not map filenode").
func (r *receiver) sendStatus(ctx context.Context) error {
	r.due = time.Now().Add(statusInterval)
	_ = r.conn.Conn().SetReadDeadline(r.due)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var status pglogrepl.StandbyStatusUpdate
	if confirm := pglogrepl.LSN(r.confirm.Load()); confirm <= r.seen {
		status.WALWritePosition = confirm
	}
	if err := pglogrepl.SendStandbyStatusUpdate(ctx, r.conn, status); err != nil {
		return fmt.Errorf("confirming the replication slot: %w", err)
	}
	return nil
}
