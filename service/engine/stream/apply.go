package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// A target transaction holds this much at most, unless a single source transaction is larger. A pipeline is read out
// after this many statements or bytes, which bounds the memory on both ends.
const (
	batchTransactions  = 1000
	batchBytes         = 16 << 20
	batchTime          = 200 * time.Millisecond
	pipelineStatements = 1000
	pipelineBytes      = 4 << 20
)

// Counts are the changes applied to one table. They are safe for concurrent use.
type Counts struct {
	Inserts, Updates, Deletes atomic.Int64
	// Changed is the commit LSN of the newest change, TRUNCATE included; 0: there was none.
	Changed atomic.Uint64
}

// Table is a table that is replicated.
type Table struct {
	catalog.Table
	From   pglogrepl.LSN // changes that commit at or after it are applied
	Counts *Counts
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

// Apply applies one slot to one target. Its fields are set before Run; the methods other than Run are safe for
// concurrent use.
type Apply struct {
	Slot      string
	Migration string
	Epoch     int64
	Tables    map[uint32]Table // by OID on the source
	Beat      uint32           // OID of the heartbeat table on the source, whose rows are not data
	Commit    pglogrepl.LSN    // of the last transaction that the target has

	target       *pgconn.PgConn
	pipeline     *pgconn.Pipeline // of the open target transaction; nil: none is open
	expected     []expectation    // results of the pipeline that are not read yet
	pipelined    int              // bytes sent since the pipeline was last read out
	prepared     map[shape]string
	relations    map[uint32]*relation
	skipping     bool // the source transaction was applied before
	transactions int  // whole source transactions in the open target transaction
	bytes        int
	opened       time.Time
	final, end   pglogrepl.LSN // of the source transaction that is read, and of the last whole one
	nonce        int64         // of the last heartbeat in the open target transaction
	gate         gate

	flushed atomic.Uint64
	beat    atomic.Int64
	applied atomic.Int64
}

// expectation is what a result in the pipeline must be.
type expectation struct {
	prepared  bool
	oneRow    bool
	commit    bool
	oid       uint32
	table     string
	operation string
}

// Flushed is the position in the source's WAL up to which everything is stored on the target, 0 as long as it is not known.
func (a *Apply) Flushed() pglogrepl.LSN { return pglogrepl.LSN(a.flushed.Load()) }

// Transactions is the number of source transactions applied by this Run.
func (a *Apply) Transactions() int64 { return a.applied.Load() }

// LastBeat is the number of the newest heartbeat whose transaction, and so all that committed before it, is on the target.
func (a *Apply) LastBeat() int64 { return a.beat.Load() }

// Run applies changes until ctx ends or something is wrong. Errors: *MismatchError, *RefusedError, *SchemaChangedError,
// ErrNotAdvanced, and what the connections give. The caller closes the connections.
func (a *Apply) Run(ctx context.Context, source, target *pgconn.PgConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.target = target
	a.flushed.Store(uint64(a.Commit))
	a.prepared, a.relations = map[shape]string{}, map[uint32]*relation{}
	receive := newReceiver(source, &a.flushed)
	var receiveErr error
	received := make(chan struct{})
	go func() {
		defer close(received)
		receiveErr = receive.run(ctx, a.Slot)
	}()
	err := a.consume(ctx, receive, received)
	cancel()
	if a.pipeline != nil {
		_ = a.pipeline.Close() // its transaction is never committed: the caller closes the connection
	}
	<-received
	if errors.Is(err, errReceiverEnded) {
		return receiveErr
	}
	return err
}

// errReceiverEnded says that the receiver has the reason why nothing comes any more.
var errReceiverEnded = errors.New("the replication slot is not read any more")

func (a *Apply) consume(ctx context.Context, receive *receiver, received <-chan struct{}) error {
	for {
		var m message
		select {
		case m = <-receive.queue:
		default:
			// Nothing waits: what is there is committed, so that the target is never behind without need.
			moved := a.gate.next()
			if a.betweenTransactions() {
				if a.transactions > 0 {
					if err := a.commit(ctx); err != nil {
						return err
					}
				}
				if err := a.pass(ctx, a.Flushed(), received); err != nil {
					return err
				}
			}
			select {
			case m = <-receive.queue:
			case <-moved:
				continue
			case <-received:
				return errReceiverEnded
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if begin, ok := m.change.(*pglogrepl.BeginMessage); ok {
			if err := a.pass(ctx, begin.FinalLSN, received); err != nil {
				return err
			}
		}
		err := a.handle(ctx, m)
		receive.budget.Release(m.weight)
		if err != nil {
			return err
		}
	}
}

func (a *Apply) betweenTransactions() bool { return a.final == 0 }

func (a *Apply) handle(ctx context.Context, m message) error {
	a.bytes += int(m.weight)
	switch change := m.change.(type) {
	case nil:
		// Everything before m.end was sent, so if nothing is open it is stored too.
		if a.betweenTransactions() && a.transactions == 0 && m.end > a.Flushed() {
			a.flushed.Store(uint64(m.end))
		}
		return nil
	case *pglogrepl.BeginMessage:
		a.final = change.FinalLSN
		a.skipping = change.FinalLSN <= a.Commit
		return nil
	case *pglogrepl.CommitMessage:
		return a.endTransaction(ctx, change)
	case *pglogrepl.RelationMessage:
		return a.describe(change)
	case *pglogrepl.InsertMessage:
		return a.row(change.RelationID, func(r *relation) error { return a.insert(ctx, r, change) })
	case *pglogrepl.UpdateMessage:
		if change.RelationID == a.Beat {
			return a.heartbeat(change)
		}
		return a.row(change.RelationID, func(r *relation) error { return a.update(ctx, r, change) })
	case *pglogrepl.DeleteMessage:
		return a.row(change.RelationID, func(r *relation) error { return a.delete(ctx, r, change) })
	case *pglogrepl.TruncateMessage:
		return a.truncate(ctx, change)
	default: // Type, Origin: nothing to apply
		return nil
	}
}

func (a *Apply) endTransaction(ctx context.Context, c *pglogrepl.CommitMessage) error {
	final := a.final
	a.final = 0
	if a.skipping {
		return nil
	}
	a.transactions++
	a.end = c.TransactionEndLSN
	a.Commit = final
	if a.opened.IsZero() {
		a.opened = time.Now()
	}
	if a.transactions >= batchTransactions || a.bytes >= batchBytes || time.Since(a.opened) >= batchTime {
		return a.commit(ctx)
	}
	return nil
}

func (a *Apply) describe(m *pglogrepl.RelationMessage) error {
	if m.RelationID == a.Beat {
		return nil
	}
	t, known := a.Tables[m.RelationID]
	if !known {
		return &SchemaChangedError{Table: m.Namespace + "." + m.RelationName, Detail: "it is new"}
	}
	r, err := newRelation(t.Table, m)
	if err != nil {
		return err
	}
	r.counts, r.from = t.Counts, t.From
	a.relations[m.RelationID] = r
	return nil
}

// row calls apply unless the change is on the target already, by an earlier run or by the initial copy.
func (a *Apply) row(oid uint32, apply func(*relation) error) error {
	if a.skipping || oid == a.Beat {
		return nil
	}
	r, known := a.relations[oid]
	if !known {
		return fmt.Errorf("the replication slot sent a change of relation %d without its description", oid)
	}
	if a.final < r.from {
		return nil
	}
	r.counts.Changed.Store(uint64(a.final))
	return apply(r)
}

func (a *Apply) heartbeat(m *pglogrepl.UpdateMessage) error {
	nonce, err := strconv.ParseInt(string(m.NewTuple.Columns[1].Data), 10, 64)
	if err != nil {
		return fmt.Errorf("reading a heartbeat: %w", err)
	}
	a.nonce = nonce
	return nil
}

func (a *Apply) insert(ctx context.Context, r *relation, m *pglogrepl.InsertMessage) error {
	values := make([][]byte, len(m.Tuple.Columns))
	for i, c := range m.Tuple.Columns {
		values[i] = value(c)
	}
	r.counts.Inserts.Add(1)
	return a.send(ctx, r, shape{relation: m.RelationID, operation: m.Type()}, r.insertSQL, values, "INSERT")
}

func (a *Apply) update(ctx context.Context, r *relation, m *pglogrepl.UpdateMessage) error {
	kinds := make([]byte, len(m.NewTuple.Columns))
	values := make([][]byte, 0, len(kinds)+len(r.key))
	for i, c := range m.NewTuple.Columns {
		if kinds[i] = '.'; c.DataType == pglogrepl.TupleDataTypeToast {
			kinds[i] = pglogrepl.TupleDataTypeToast
			continue
		}
		values = append(values, value(c))
	}
	r.counts.Updates.Add(1)
	if len(values) == 0 {
		return nil // a row of unchanged large values only
	}
	identity, err := r.identify(m.OldTuple, m.NewTuple)
	if err != nil {
		return err
	}
	s := shape{relation: m.RelationID, operation: m.Type(), unchanged: string(kinds)}
	return a.send(ctx, r, s, func() string { return r.updateSQL(s.unchanged) }, append(values, identity...), "UPDATE")
}

func (a *Apply) delete(ctx context.Context, r *relation, m *pglogrepl.DeleteMessage) error {
	identity, err := r.identify(m.OldTuple, nil)
	if err != nil {
		return err
	}
	r.counts.Deletes.Add(1)
	return a.send(ctx, r, shape{relation: m.RelationID, operation: m.Type()}, r.deleteSQL, identity, "DELETE")
}

func (a *Apply) truncate(ctx context.Context, m *pglogrepl.TruncateMessage) error {
	if a.skipping {
		return nil
	}
	var names []string
	for _, oid := range m.RelationIDs {
		err := a.row(oid, func(r *relation) error {
			names = append(names, "ONLY "+r.name)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return nil
	}
	list := strings.Join(names, ", ")
	if err := a.begin(ctx); err != nil {
		return err
	}
	a.pipeline.SendQueryParams("TRUNCATE "+list, nil, nil, nil, nil)
	return a.expect(expectation{table: list, operation: "TRUNCATE"}, len(list))
}

// send puts a statement for one row into the pipeline, preparing it when its shape is new.
func (a *Apply) send(ctx context.Context, r *relation, s shape, sql func() string, values [][]byte, operation string) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	name, known := a.prepared[s]
	if !known {
		name = fmt.Sprintf("s%d", len(a.prepared)+1)
		a.pipeline.SendPrepare(name, sql(), nil)
		if err := a.expect(expectation{prepared: true, oid: r.table.OID, table: r.table.String(), operation: operation}, 0); err != nil {
			return err
		}
		a.prepared[s] = name
	}
	size := 0
	for _, v := range values {
		size += len(v)
	}
	a.pipeline.SendQueryPrepared(name, values, nil, nil)
	return a.expect(expectation{oneRow: true, oid: r.table.OID, table: r.table.String(), operation: operation}, size)
}

// begin opens a target transaction if none is open.
func (a *Apply) begin(ctx context.Context) error {
	if a.pipeline != nil {
		return nil
	}
	a.pipeline = a.target.StartPipeline(ctx)
	a.opened = time.Now()
	for _, sql := range []string{"BEGIN", "SET CONSTRAINTS ALL DEFERRED"} {
		a.pipeline.SendQueryParams(sql, nil, nil, nil, nil)
		if err := a.expect(expectation{operation: sql}, 0); err != nil {
			return err
		}
	}
	return nil
}

func (a *Apply) expect(e expectation, size int) error {
	a.expected = append(a.expected, e)
	if a.pipelined += size; len(a.expected) >= pipelineStatements || a.pipelined >= pipelineBytes {
		return a.readOut()
	}
	return nil
}

// readOut waits for all results of the pipeline and checks each.
func (a *Apply) readOut() error {
	expected := a.expected
	a.expected, a.pipelined = a.expected[:0], 0
	if err := a.pipeline.Sync(); err != nil {
		return fmt.Errorf("sending changes to the target: %w", err)
	}
	for _, e := range expected {
		result, err := a.pipeline.GetResults()
		if err != nil {
			return refused(e, err)
		}
		if e.prepared {
			if _, ok := result.(*pgconn.StatementDescription); !ok {
				return fmt.Errorf("applying %s to %s: unexpected answer %T of the target", e.operation, e.table, result)
			}
			continue
		}
		reader, ok := result.(*pgconn.ResultReader)
		if !ok {
			return fmt.Errorf("applying %s to %s: unexpected answer %T of the target", e.operation, e.table, result)
		}
		tag, err := reader.Close()
		if err != nil {
			return refused(e, err)
		}
		if e.commit && tag.String() != "COMMIT" {
			return fmt.Errorf("the target answered %s to COMMIT", tag)
		}
		if e.oneRow && tag.RowsAffected() != 1 {
			return &MismatchError{OID: e.oid, Table: e.table, Operation: e.operation, Rows: tag.RowsAffected()}
		}
	}
	result, err := a.pipeline.GetResults()
	if err != nil {
		return fmt.Errorf("sending changes to the target: %w", err)
	}
	if _, ok := result.(*pgconn.PipelineSync); !ok {
		return fmt.Errorf("sending changes to the target: unexpected answer %T", result)
	}
	return nil
}

// refused makes a RefusedError of what the target itself said about the change; a broken connection or a shut-down is left
// to the caller, who tries again.
func refused(e expectation, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && e.table != "" {
		switch pg.Code[:2] {
		case "08", "40", "53", "57", "58": // connection, rolled back, out of resources, operator, system
		default:
			return &RefusedError{OID: e.oid, Table: e.table, Operation: e.operation, Err: err}
		}
	}
	return fmt.Errorf("applying changes to the target: %w", err)
}

// advanceSQL is in every target transaction: with it a change is applied exactly once, and never by two workers.
const advanceSQL = `
UPDATE _pgmig.progress
SET commit_lsn = $1::text::pg_lsn, committed_at = pg_catalog.now()
WHERE migration = $2 AND epoch = $3 AND commit_lsn < $1::text::pg_lsn`

// commit stores the whole source transactions read so far and how far they reach.
func (a *Apply) commit(ctx context.Context) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	a.pipeline.SendQueryParams(advanceSQL, [][]byte{[]byte(a.Commit.String()), []byte(a.Migration), strconv.AppendInt(nil, a.Epoch, 10)}, nil, nil, nil)
	a.expected = append(a.expected, expectation{oneRow: true, operation: "advance"})
	if err := a.readOut(); err != nil {
		var mismatch *MismatchError
		if errors.As(err, &mismatch) && mismatch.Table == "" {
			return ErrNotAdvanced
		}
		return err
	}
	// Only now, that every result is known to be right.
	a.pipeline.SendQueryParams("COMMIT", nil, nil, nil, nil)
	a.expected = append(a.expected, expectation{commit: true, operation: "COMMIT"})
	if err := a.readOut(); err != nil {
		return err
	}
	err := a.pipeline.Close()
	a.pipeline = nil
	if err != nil {
		return fmt.Errorf("ending a transaction on the target: %w", err)
	}
	a.flushed.Store(uint64(a.end))
	a.applied.Add(int64(a.transactions))
	a.transactions, a.bytes, a.opened = 0, 0, time.Time{}
	if a.nonce > a.beat.Load() {
		a.beat.Store(a.nonce)
	}
	return nil
}
