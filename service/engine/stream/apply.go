package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/semaphore"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// A target transaction holds this much at most, unless a single source transaction is larger.
const (
	batchTransactions = 20_000
	batchBytes        = 64 << 20
	batchTime         = 500 * time.Millisecond
	// linger is how long an open target transaction waits for more when the source has nothing.
	linger = 2 * time.Millisecond
	// durableTime is how long transactions may be committed on the target without waiting for its disk, while more of them wait. The
	// source is not told of them before. A crash of the target takes them back, and with them the position in the ledger.
	durableTime = time.Second
	// freeBytes is the size of a window whose memory is given back at once.
	freeBytes = 8 << 20
)

// Counts are the changes applied to one table. They are safe for concurrent use.
type Counts struct {
	Inserts, Updates, Deletes atomic.Int64
	// Changed is the commit LSN of the newest change, TRUNCATE included; 0: there was none.
	Changed atomic.Uint64
}

// Table is a table that is replicated.
type Table struct {
	Catalog catalog.Table
	From    pglogrepl.LSN // changes that commit at or after it are applied
	Counts  *Counts
}

// MismatchError says that an update or a delete did not find exactly one row: the target is not what the source was.
type MismatchError struct {
	OID       uint32 // of the table on the source
	Table     string
	Operation string
	Rows      int64
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s on table %s found %d rows on the target instead of 1", e.Operation, e.Table, e.Rows)
}

// RefusedError says that the target refused a change.
type RefusedError struct {
	OID       uint32 // of the table on the source; 0: several tables
	Table     string
	Operation string
	Err       error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the target refused %s on table %s: %v", e.Operation, e.Table, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// SchemaChangedError says that a table's definition changed on the source.
type SchemaChangedError struct {
	Table  string
	Detail string
}

func (e *SchemaChangedError) Error() string {
	return fmt.Sprintf("table %s was changed on the source: %s", e.Table, e.Detail)
}

// ErrNotAdvanced says that the ledger's row was not what this worker left: the transaction was rolled back.
var ErrNotAdvanced = errors.New("the ledger on the target was changed by another session")

// ErrSourceEnded says that the source ended the stream, as a server does that is shut down.
var ErrSourceEnded = errors.New("the source ended the stream")

// TargetError says that the target could not apply changes for a reason that is not in them.
type TargetError struct{ Err error }

func (e *TargetError) Error() string { return "applying changes to the target: " + e.Err.Error() }

func (e *TargetError) Unwrap() error { return e.Err }

// Apply applies one slot to one target. Its fields are set before Run; the methods other than Run are safe for
// concurrent use.
type Apply struct {
	Slot      string
	Migration string
	Epoch     int64
	Tables    map[uint32]Table // by OID on the source
	Beat      uint32           // OID of the heartbeat table on the source, whose rows are not data
	Commit    pglogrepl.LSN    // of the last transaction that the target has
	// Reader is a session with the target that reads rows before they are changed; nil: they are not.
	Reader *pgconn.PgConn

	target       *session
	targetTables map[tableName]*targetTable
	relations    map[uint32]*relation
	open         bool    // a target transaction is
	window       *window // is being filled
	sent         *window // is on its way to the target
	budget       *semaphore.Weighted
	warmer       *warmer
	skipping     bool // the source transaction was applied before
	transactions int  // whole source transactions in the open target transaction
	bytes        int64
	opened       time.Time
	durable      bool          // all that is committed on the target is on its disk
	durableAt    time.Time     // when it was
	final, end   pglogrepl.LSN // of the source transaction that is read, and of the last whole one
	nonce        int64         // of the last heartbeat that was read
	gate         gate

	flushed atomic.Uint64
	// confirm is what the source is told: never more than the ledger holds, so that a target that has lost something is found out.
	confirm atomic.Uint64
	beat    atomic.Int64
	applied atomic.Int64
}

// Flushed is the position in the source's WAL up to which everything is on the target's disk, 0 as long as it is not known.
func (a *Apply) Flushed() pglogrepl.LSN { return pglogrepl.LSN(a.flushed.Load()) }

// Transactions is the number of source transactions applied by this Run.
func (a *Apply) Transactions() int64 { return a.applied.Load() }

// LastBeat is the number of the newest heartbeat whose transaction, and so all that committed before it, is on the target's disk.
func (a *Apply) LastBeat() int64 { return a.beat.Load() }

// Run applies changes until ctx ends or something is wrong. Errors: *MismatchError, *RefusedError, *SchemaChangedError,
// ErrNotAdvanced, and what the connections give. The caller closes the connections.
func (a *Apply) Run(ctx context.Context, source, target *pgconn.PgConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if a.targetTables, err = readTargetTables(ctx, target); err != nil {
		return err
	}
	var done func()
	a.target, done = newSession(ctx, target)
	defer done()
	a.flushed.Store(uint64(a.Commit))
	a.durable, a.durableAt = true, time.Now()
	a.relations, a.window = map[uint32]*relation{}, newWindow(0)
	a.budget = semaphore.NewWeighted(budgetBytes)
	receive, err := newReceiver(source, &a.confirm, a.budget)
	if err != nil {
		return err
	}
	a.warmer = startWarmer(ctx, a.Reader)
	var receiveErr error
	received := make(chan struct{})
	go func() {
		defer close(received)
		receiveErr = receive.run(ctx, a.Slot)
	}()
	err = a.consume(ctx, receive, received)
	if ctx.Err() != nil {
		err = ctx.Err() // and not what it did to the connection
	}
	cancel()
	<-received
	<-a.warmer.ended
	if errors.Is(err, errReceiverEnded) {
		return receiveErr
	}
	return err
}

// errReceiverEnded says that the receiver has the reason why nothing comes any more.
var errReceiverEnded = errors.New("the replication slot is not read any more")

func (a *Apply) consume(ctx context.Context, receive *receiver, received <-chan struct{}) error {
	for {
		slab, err := a.next(ctx, receive, received)
		if err != nil {
			return err
		}
		for _, c := range slab {
			if c.message == pglogrepl.MessageTypeBegin {
				if err := a.pass(ctx, c.end, received); err != nil {
					return err
				}
			}
			a.bytes += c.weight
			kept, err := a.handle(c)
			if err != nil {
				return err
			}
			if !kept {
				a.budget.Release(c.weight)
			}
		}
	}
}

// next gives the next changes. When none come it sends and, if it may, commits what is there, so that the target is never behind
// without need.
func (a *Apply) next(ctx context.Context, receive *receiver, received <-chan struct{}) ([]*change, error) {
	select {
	case slab := <-receive.queue:
		return slab, nil
	default:
	}
	// Mostly the source has only not sent it yet, and many small transactions would cost more than one.
	select {
	case slab := <-receive.queue:
		return slab, nil
	case <-time.After(linger):
	}
	for {
		moved := a.gate.next()
		if err := a.catchUp(ctx, received); err != nil {
			return nil, err
		}
		select {
		case slab := <-receive.queue:
			return slab, nil
		case <-moved:
		case <-received:
			return nil, errReceiverEnded
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// catchUp brings the target as far as what was received goes.
func (a *Apply) catchUp(ctx context.Context, received <-chan struct{}) error {
	if !a.betweenTransactions() {
		if err := a.flush(); err != nil {
			return err
		}
		return a.settle()
	}
	if err := a.commitAll(); err != nil {
		return err
	}
	return a.pass(ctx, a.Flushed(), received)
}

// commitAll brings all whole source transactions that were read to the target's disk.
func (a *Apply) commitAll() error {
	switch {
	case a.transactions > 0:
		return a.commit(true)
	case !a.durable:
		return a.settleDisk()
	default:
		return nil
	}
}

func (a *Apply) betweenTransactions() bool { return a.final == 0 }

// handle takes one change. One that is kept holds its part of the budget until the target has taken it.
func (a *Apply) handle(c *change) (kept bool, err error) {
	switch c.message {
	case keepalive:
		// Everything before c.end was sent, so if nothing is under way it is stored too.
		if a.betweenTransactions() && a.transactions == 0 && a.durable && c.end > a.Flushed() {
			a.flushed.Store(uint64(c.end))
		}
	case pglogrepl.MessageTypeBegin:
		a.final = c.end
		a.skipping = c.end <= a.Commit
	case pglogrepl.MessageTypeCommit:
		return false, a.endTransaction(c)
	case pglogrepl.MessageTypeRelation:
		return false, a.describe(c.described)
	case pglogrepl.MessageTypeTruncate:
		return false, a.truncate(c)
	case pglogrepl.MessageTypeInsert, pglogrepl.MessageTypeUpdate, pglogrepl.MessageTypeDelete:
		if c.relation == a.Beat {
			return false, a.heartbeat(c)
		}
		return a.row(c)
	}
	return false, nil // Type, Origin: nothing to apply
}

func (a *Apply) endTransaction(c *change) error {
	final := a.final
	a.final = 0
	if a.skipping {
		return nil
	}
	a.transactions++
	a.end = c.end
	a.Commit = final
	if a.opened.IsZero() {
		a.opened = time.Now()
	}
	if a.transactions >= batchTransactions || a.bytes >= batchBytes || time.Since(a.opened) >= batchTime {
		return a.commit(time.Since(a.durableAt) >= durableTime)
	}
	return nil
}

func (a *Apply) describe(d *description) error {
	if d.oid == a.Beat {
		return nil
	}
	t, known := a.Tables[d.oid]
	if !known {
		return &SchemaChangedError{Table: d.schema + "." + d.name, Detail: "it is new"}
	}
	r, err := newRelation(t.Catalog, d)
	if err != nil {
		return err
	}
	r.counts, r.from = t.Counts, t.From
	r.setTarget(a.targetTables[tableName{t.Catalog.Schema, t.Catalog.Name}])
	a.relations[d.oid] = r
	return nil
}

// wanted gives the relation of a change, nil when the target has the change already, by an earlier run or by the initial copy.
func (a *Apply) wanted(oid uint32) (*relation, error) {
	if a.skipping || oid == a.Beat {
		return nil, nil
	}
	r, known := a.relations[oid]
	if !known {
		return nil, fmt.Errorf("the replication slot sent a change of relation %d without its description", oid)
	}
	if a.final < r.from {
		return nil, nil
	}
	r.counts.Changed.Store(uint64(a.final))
	return r, nil
}

func (a *Apply) heartbeat(c *change) error {
	if c.message != pglogrepl.MessageTypeUpdate {
		return nil
	}
	if len(c.row) < 2 {
		return fmt.Errorf("reading a heartbeat: it has %d columns", len(c.row))
	}
	nonce, err := strconv.ParseInt(string(c.row[1].text), 10, 64)
	if err != nil {
		return fmt.Errorf("reading a heartbeat: %w", err)
	}
	a.nonce = nonce
	return nil
}

func (a *Apply) row(c *change) (kept bool, err error) {
	r, err := a.wanted(c.relation)
	if r == nil || err != nil {
		return false, err
	}
	if err := r.checkWidth(c.old, c.row); err != nil {
		return false, err
	}
	switch c.message {
	case pglogrepl.MessageTypeInsert:
		r.counts.Inserts.Add(1)
	case pglogrepl.MessageTypeUpdate:
		r.counts.Updates.Add(1)
	case pglogrepl.MessageTypeDelete:
		r.counts.Deletes.Add(1)
	}
	a.window.add(r, c)
	return true, a.changed()
}

func (a *Apply) truncate(c *change) error {
	var relations []*relation
	for _, oid := range c.truncated {
		r, err := a.wanted(oid)
		if err != nil {
			return err
		}
		if r != nil {
			relations = append(relations, r)
		}
	}
	if len(relations) == 0 {
		return nil
	}
	a.window.truncate(relations)
	return a.changed()
}

// changed sends the window when it is full.
func (a *Apply) changed() error {
	if a.opened.IsZero() {
		a.opened = time.Now()
	}
	if a.window.full() {
		return a.flush()
	}
	return nil
}

// flush sends the window to the target, after the window before was taken.
func (a *Apply) flush() error {
	a.warmer.warm(a.window)
	if err := a.settle(); err != nil {
		return err
	}
	if len(a.window.items) == 0 {
		return nil
	}
	if err := a.begin(); err != nil {
		return err
	}
	w := a.window
	a.window = newWindow(w.number + 1)
	err := w.send(a.target)
	if err == nil {
		err = a.target.sync()
	}
	if err != nil {
		return a.taken(w, err)
	}
	a.sent = w
	return nil
}

// settle waits until the target has taken the window that was sent.
func (a *Apply) settle() error {
	w := a.sent
	if w == nil {
		return nil
	}
	a.sent = nil
	return a.taken(w, a.target.await())
}

func (a *Apply) taken(w *window, err error) error {
	if err := w.taken(a.target, err); err != nil {
		return err
	}
	a.budget.Release(w.weight)
	if w.weight >= freeBytes {
		// The next change may be as large.
		w.items, w.steps = nil, nil
		debug.FreeOSMemory()
	}
	return nil
}

// begin opens a target transaction if none is open.
func (a *Apply) begin() error {
	if a.open {
		return nil
	}
	a.open = true
	for _, sql := range []string{"BEGIN", "SET CONSTRAINTS ALL DEFERRED"} {
		if err := a.target.query(sql, expectation{rows: anyRows, operation: sql}); err != nil {
			return err
		}
	}
	return nil
}

const (
	// advanceSQL is in every target transaction: with it a change is applied exactly once, and never by two workers.
	advanceSQL = `
UPDATE _pgmig.progress
SET commit_lsn = $1::text::pg_lsn, flushed_lsn = $5::text::pg_lsn, committed_at = pg_catalog.now(), beat = greatest(beat, $4)
WHERE migration = $2 AND epoch = $3 AND commit_lsn < $1::text::pg_lsn`

	// touchSQL writes something, because a transaction that does not writes no commit record that the disk has to take.
	touchSQL = `
UPDATE _pgmig.progress
SET committed_at = pg_catalog.now()
WHERE migration = $1 AND epoch = $2`

	// unsyncedSQL lets the commit of this transaction not wait for the disk (PostgreSQL manual, 30.4 Asynchronous Commit).
	unsyncedSQL = "SET LOCAL synchronous_commit = off"
)

// commit stores the whole source transactions read so far and how far they reach. Only a durable commit is told to anybody:
// it makes those before it durable too.
func (a *Apply) commit(durable bool) error {
	if err := a.flush(); err != nil {
		return err
	}
	if err := a.settle(); err != nil {
		return err
	}
	if err := a.begin(); err != nil {
		return err
	}
	if !durable {
		if err := a.target.query(unsyncedSQL, expectation{rows: anyRows, operation: unsyncedSQL}); err != nil {
			return err
		}
	}
	err := a.store(advanceSQL,
		[]byte(a.Commit.String()), []byte(a.Migration), strconv.AppendInt(nil, a.Epoch, 10), strconv.AppendInt(nil, a.nonce, 10), []byte(a.end.String()))
	if err != nil {
		return err
	}
	if a.durable = durable; durable {
		a.stored()
	}
	a.applied.Add(int64(a.transactions))
	a.transactions, a.bytes, a.opened = 0, 0, time.Time{}
	return nil
}

// settleDisk makes what was committed durable.
func (a *Apply) settleDisk() error {
	if err := a.begin(); err != nil {
		return err
	}
	if err := a.store(touchSQL, []byte(a.Migration), strconv.AppendInt(nil, a.Epoch, 10)); err != nil {
		return err
	}
	a.durable = true
	a.stored()
	return nil
}

// store changes the ledger's row and commits.
func (a *Apply) store(sql string, values ...[]byte) error {
	err := a.target.execute(sql, expectation{rows: 1, operation: "advance"}, values)
	if err == nil {
		err = a.target.settle()
	}
	if mismatch := (*MismatchError)(nil); errors.As(err, &mismatch) && mismatch.Table == "" {
		return ErrNotAdvanced
	}
	if err != nil {
		return err
	}
	// Only now, that every result is known to be right.
	if err := a.target.query("COMMIT", expectation{rows: anyRows, tag: "COMMIT", operation: "COMMIT"}); err != nil {
		return err
	}
	if err := a.target.settle(); err != nil {
		return err
	}
	a.open = false
	return nil
}

// stored tells what is on the target's disk.
func (a *Apply) stored() {
	a.durableAt = time.Now()
	a.flushed.Store(uint64(a.end))
	a.confirm.Store(uint64(a.end))
	if a.nonce > a.beat.Load() {
		a.beat.Store(a.nonce)
	}
}
