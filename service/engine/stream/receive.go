// Package stream carries changes: it reads the source's slot by logical replication (pgoutput, protocol version 1) and
// applies every transaction to the target exactly once, in commit order.
package stream

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/semaphore"
)

const (
	// statusInterval is well below the source's wal_sender_timeout, 60 s unless somebody changed it.
	statusInterval = 5 * time.Second
	// queueMessages and queueBytes bound what is read ahead of the apply.
	queueMessages = 8192
	queueBytes    = 16 << 20
)

// keepalive is the change of a message that is none: the source's word that everything before its end was sent.
const keepalive pglogrepl.MessageType = 0

// message is one message of the slot.
type message struct {
	change change
	weight int64 // what it holds of the queue's budget
}

// receiver reads the slot ahead of the apply. Only its goroutine uses the connection.
type receiver struct {
	conn *pgconn.PgConn
	// flushed is how far the target has stored the changes durably: the source may forget what lies before it.
	flushed *atomic.Uint64
	queue   chan message
	budget  *semaphore.Weighted
}

func newReceiver(conn *pgconn.PgConn, flushed *atomic.Uint64) *receiver {
	return &receiver{conn: conn, flushed: flushed, queue: make(chan message, queueMessages), budget: semaphore.NewWeighted(queueBytes)}
}

// run reads until ctx ends or the connection breaks.
func (r *receiver) run(ctx context.Context, slot string) error {
	err := pglogrepl.StartReplication(ctx, r.conn, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + slot + "'"},
	})
	if err != nil {
		return fmt.Errorf("starting to read replication slot %s: %w", slot, err)
	}
	for {
		if err := r.sendStatus(ctx); err != nil {
			return err
		}
		if err := r.receiveUntil(ctx, time.Now().Add(statusInterval)); err != nil {
			return err
		}
	}
}

// receiveUntil reads messages until the deadline or until the source asks for a status.
func (r *receiver) receiveUntil(ctx context.Context, deadline time.Time) error {
	reading, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for {
		raw, err := r.conn.ReceiveMessage(reading)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if pgconn.Timeout(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the replication slot: %w", err)
		}
		switch raw := raw.(type) {
		case *pgproto3.CopyData:
			statusWanted, err := r.take(ctx, raw.Data)
			if err != nil || statusWanted {
				return err
			}
			if time.Now().After(deadline) {
				return nil
			}
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("reading the replication slot: %w", pgconn.ErrorResponseToPgError(raw))
		case *pgproto3.CopyDone:
			return fmt.Errorf("reading the replication slot: the source ended the stream")
		}
	}
}

// take queues the content of one CopyData message (PostgreSQL manual, 54.4: XLogData 'w' and keepalive 'k').
func (r *receiver) take(ctx context.Context, data []byte) (statusWanted bool, err error) {
	if len(data) == 0 {
		return false, fmt.Errorf("reading the replication slot: empty message")
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		k, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return false, fmt.Errorf("reading a keepalive of the replication slot: %w", err)
		}
		return k.ReplyRequested, r.put(ctx, message{change: change{message: keepalive, end: k.ServerWALEnd}})
	case pglogrepl.XLogDataByteID:
		wal, err := pglogrepl.ParseXLogData(data[1:])
		if err != nil {
			return false, fmt.Errorf("reading a message of the replication slot: %w", err)
		}
		// The connection uses its buffer again for the next message, and the decoded values point into it.
		c, err := decode(append([]byte(nil), wal.WALData...))
		if err != nil {
			return false, fmt.Errorf("decoding a message of the replication slot: %w", err)
		}
		return false, r.put(ctx, message{change: c, weight: min(int64(len(wal.WALData))+64, queueBytes)})
	default:
		return false, fmt.Errorf("reading the replication slot: unknown message %q", data[0])
	}
}

// put waits for room in the queue, and goes on sending the status meanwhile: a target that is busy with a large
// transaction must not make the source cut the connection.
func (r *receiver) put(ctx context.Context, m message) error {
	for !r.budget.TryAcquire(m.weight) {
		waiting, cancel := context.WithTimeout(ctx, statusInterval)
		err := r.budget.Acquire(waiting, m.weight)
		cancel()
		if err == nil {
			break
		}
		if err := r.sendStatus(ctx); err != nil {
			return err
		}
	}
	select {
	case r.queue <- m:
		return nil
	default:
	}
	ticker := time.NewTicker(statusInterval)
	defer ticker.Stop()
	for {
		select {
		case r.queue <- m:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if err := r.sendStatus(ctx); err != nil {
				return err
			}
		}
	}
}

func (r *receiver) sendStatus(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := pglogrepl.SendStandbyStatusUpdate(ctx, r.conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: pglogrepl.LSN(r.flushed.Load())})
	if err != nil {
		return fmt.Errorf("confirming the replication slot: %w", err)
	}
	return nil
}
