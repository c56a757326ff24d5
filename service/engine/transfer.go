package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// transfer brings tables over: copy workers take parts of them, the largest tables first, and as soon as a table is
// complete, index workers build its indexes while others are still copied.
type transfer struct {
	*attempt
	keeper *snapshot.Keeper
	parts  chan part
	works  chan work // room for all of them: nobody waits to hand one over
	// later holds the index work of the tables that are still to be copied, by OID. Its map does not change.
	later map[uint32][]work
	// rewritten gets the error of each table that has to wait for another snapshot.
	rewritten chan error
	families  families
}

// part is a piece of a table that is copied.
type part struct {
	snapshot.Part
	table *copiedTable
}

// copiedTable is a table while its parts are copied. Its counters are shared by the workers.
type copiedTable struct {
	oid       uint32
	state     *tableState
	left      atomic.Int32 // parts
	rows      atomic.Int64
	rewritten atomic.Bool
}

// work is what an index worker does for a table: build an index, and gather statistics after the last one.
type work struct {
	entry *schema.Stored // nil: there is no index
	state *tableState
	left  *atomic.Int32 // indexes of the table; the worker that finishes the last one gathers statistics
}

// transfer copies the tables with these OIDs from the keeper's snapshot, builds the indexes of all tables, attaches those of
// partitions, and gathers statistics. It closes the keeper, which may be nil if there is nothing to copy, as soon as all is
// copied: that frees the source's horizon for VACUUM. A table that was rewritten meanwhile is left out; the others are not
// thrown away for it, and the error makes the next attempt copy it from a new snapshot.
func (a *attempt) transfer(ctx context.Context, keeper *snapshot.Keeper, oids []uint32) error {
	if err := a.createPending(ctx, a.target, schema.Statistics); err != nil {
		return err
	}
	t, err := a.planTransfer(ctx, keeper, oids)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(t.works)
		return t.copyAll(groupCtx)
	})
	for range max(a.engine.Settings.IndexWorkers, 1) {
		group.Go(func() error { return t.finishTables(groupCtx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	select {
	case err := <-t.rewritten:
		return err
	default:
	}
	if err := a.createPending(ctx, a.target, schema.Attachments); err != nil {
		return err
	}
	return t.analyzeFamilies(ctx)
}

// planTransfer divides large tables and says which index waits for which table.
func (a *attempt) planTransfer(ctx context.Context, keeper *snapshot.Keeper, oids []uint32) (*transfer, error) {
	a.mu.Lock()
	states := make(map[uint32]*tableState, len(a.tables))
	for oid, s := range a.tables {
		states[oid] = s
	}
	a.mu.Unlock()

	t := &transfer{attempt: a, keeper: keeper, later: map[uint32][]work{}, rewritten: make(chan error, len(oids))}
	var parts []part
	for _, oid := range oids {
		s := states[oid]
		pieces, err := snapshot.Split(ctx, keeper.Conn(), s.table, a.engine.Settings.PartBytes)
		if err != nil {
			return nil, err
		}
		table := &copiedTable{oid: oid, state: s}
		table.left.Store(int32(len(pieces)))
		for _, p := range pieces {
			parts = append(parts, part{p, table})
		}
		if len(pieces) > 1 {
			if err := a.emptyTable(ctx, s.table); err != nil {
				return nil, err
			}
		}
		t.later[oid] = nil
	}
	t.parts = make(chan part, len(parts))
	for _, p := range parts {
		t.parts <- p
	}
	close(t.parts)
	if err := t.readFamilies(ctx, states); err != nil {
		return nil, err
	}
	return t, t.planWorks(ctx, states)
}

// emptyTable removes what an attempt that was broken off may have left of a table that is copied in several transactions.
func (a *attempt) emptyTable(ctx context.Context, t catalog.Table) error {
	return pgx.BeginFunc(ctx, a.target, func(tx pgx.Tx) error {
		if err := snapshot.Empty(ctx, tx, t); err != nil {
			return err
		}
		return a.ledger.CheckEpoch(ctx, tx)
	})
}

// planWorks hands over what can be done at once and keeps what waits for the copy of a table.
func (t *transfer) planWorks(ctx context.Context, states map[uint32]*tableState) error {
	entries, err := schema.Pending(ctx, t.target, schema.Indexes)
	if err != nil {
		return err
	}
	indexes, err := catalog.Indexes(ctx, t.source)
	if err != nil {
		return err
	}
	tableOf := ownersOf(indexes)
	ofTable := map[uint32][]work{}
	var others []work
	for i := range entries {
		oid := tableOf[entryKey{entries[i].Kind, entries[i].Schema, entries[i].Name}]
		if s := states[oid]; s != nil {
			ofTable[oid] = append(ofTable[oid], work{entry: &entries[i], state: s})
		} else {
			others = append(others, work{entry: &entries[i]}) // of a partitioned table, which holds no rows
		}
	}
	t.works = make(chan work, len(entries)+len(states))
	for _, w := range others {
		t.works <- w
	}
	for oid, s := range states {
		works := ofTable[oid]
		_, waits := t.later[oid]
		if len(works) == 0 {
			if s.analyzed && !waits {
				continue
			}
			works = []work{{state: s}}
		}
		left := &atomic.Int32{}
		left.Store(int32(len(works)))
		for i := range works {
			works[i].left = left
		}
		if waits {
			t.later[oid] = works
			continue
		}
		for _, w := range works {
			t.works <- w
		}
	}
	return nil
}

// entryKey is an entry of the schema copy as pg_dump names it.
type entryKey struct{ kind, schema, name string }

// ownersOf gives the table of each index by the names that pg_dump gives to it and to its constraint. Two of one name, which
// only names with spaces make possible, are left out: such an index is built at once, on a table that may still be filled.
func ownersOf(indexes []catalog.Index) map[entryKey]uint32 {
	owners := make(map[entryKey]uint32, 2*len(indexes))
	for _, i := range indexes {
		for _, key := range []entryKey{{"INDEX", i.Schema, i.Name}, {"CONSTRAINT", i.Schema, i.TableName + " " + i.Name}} {
			if _, taken := owners[key]; taken {
				owners[key] = 0
				continue
			}
			owners[key] = i.Table
		}
	}
	return owners
}

// copyAll copies with several workers.
func (t *transfer) copyAll(ctx context.Context) error {
	if len(t.parts) == 0 {
		t.indexing()
		return nil
	}
	t.mu.Lock()
	t.copyFrom, t.copyTo, t.carried = time.Now(), time.Time{}, 0
	for _, s := range t.tables {
		if s.done {
			t.carried += s.copied.Bytes.Load()
		}
	}
	t.mu.Unlock()
	group, groupCtx := errgroup.WithContext(ctx)
	for range min(t.engine.Settings.CopyWorkers, len(t.parts)) {
		group.Go(func() error { return t.copyParts(groupCtx) })
	}
	err := group.Wait()
	t.mu.Lock()
	t.copyTo = time.Now()
	t.mu.Unlock()
	if err != nil {
		return err
	}
	t.keeper.Close(ctx)
	t.indexing()
	return nil
}

// indexing sets the phase of an initial copy that is over. A finalization has no phases.
func (t *transfer) indexing() {
	if !t.finalizing.Load() {
		t.setPhase(PhaseIndexing)
	}
}

// copyParts copies parts until there are no more.
func (t *transfer) copyParts(ctx context.Context) error {
	source, err := t.from.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, source)
	if err := snapshot.Import(ctx, source, t.keeper.Name); err != nil {
		return err
	}
	target, err := t.connectBulk(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, target)
	for p := range t.parts {
		if p.table.rewritten.Load() {
			continue
		}
		err := snapshot.Unlocking(ctx, source, func() error { return t.copyPart(ctx, source, target, p) })
		if errors.Is(err, snapshot.ErrRewritten) {
			t.log.Warn("a table waits for another snapshot", "error", err)
			if !p.table.rewritten.Swap(true) {
				t.rewritten <- err
				if err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error { return t.needsSnapshot(ctx, tx, p.table.oid) }); err != nil {
					return err
				}
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyPart copies one part in a transaction. With the last one the table is recorded as copied.
func (t *transfer) copyPart(ctx context.Context, source, target *pgx.Conn, p part) error {
	s := p.table.state
	t.mu.Lock()
	s.phase = TableCopying
	t.mu.Unlock()
	if p.Whole() {
		s.copied.Rows.Store(0)
		s.copied.Bytes.Store(0)
	}
	last := false
	err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
		if p.Whole() {
			if err := snapshot.Empty(ctx, tx, p.Table); err != nil {
				return err
			}
		}
		rows, err := snapshot.Copy(ctx, source, tx, p.Part, p.Whole(), &s.copied)
		if err != nil {
			return err
		}
		p.table.rows.Add(rows)
		t.reached("part sent")
		if p.Whole() {
			last = true
			return t.ledger.TableCopied(ctx, tx, p.table.oid, t.keeper.LSN, rows, s.copied.Bytes.Load())
		}
		return t.ledger.CheckEpoch(ctx, tx)
	})
	if err != nil {
		t.mu.Lock()
		s.phase = TablePending
		t.mu.Unlock()
		return err
	}
	if !p.Whole() && p.table.left.Add(-1) == 0 { // all parts are committed
		last = true
		err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
			return t.ledger.TableCopied(ctx, tx, p.table.oid, t.keeper.LSN, p.table.rows.Load(), s.copied.Bytes.Load())
		})
		if err != nil {
			return err
		}
	}
	t.reached("part copied")
	if last {
		s.copied.Rows.Store(p.table.rows.Load())
		t.mu.Lock()
		s.phase, s.done = TableIndexing, true
		t.mu.Unlock()
		for _, w := range t.later[p.table.oid] {
			t.works <- w
		}
	}
	return nil
}

// bulkSQL sets a session up for copying and building indexes. A crash of the target may lose the newest commits, and the
// ledger's record of them with them: what is not recorded is done again. Memory is at least PostgreSQL's default: sorts with
// 512 MB took a quarter longer than with 64 MB, which are enough to sort some 10 GB of keys in one pass.
const bulkSQL = `
SELECT
    pg_catalog.set_config('synchronous_commit', 'off', false),
    pg_catalog.set_config('maintenance_work_mem', greatest(
        pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')), 64 << 20) / 1024 || 'kB', false)`

// connectBulk opens a session with the target for copying and building indexes.
func (t *transfer) connectBulk(ctx context.Context) (*pgx.Conn, error) {
	conn, err := t.to.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, bulkSQL); err != nil {
		closeConn(ctx, conn)
		return nil, fmt.Errorf("setting up a session for the copy: %w", err)
	}
	return conn, nil
}

// finishTables builds indexes and gathers statistics until there is no more to do.
func (t *transfer) finishTables(ctx context.Context) error {
	conn, err := t.connectBulk(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	for {
		select {
		case w, more := <-t.works:
			if !more {
				return nil
			}
			if err := t.finish(ctx, conn, w); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *transfer) finish(ctx context.Context, conn *pgx.Conn, w work) error {
	if w.entry != nil {
		if err := t.createEntries(ctx, conn, *w.entry); err != nil {
			return err
		}
		t.reached("index built")
	}
	if w.left == nil || w.left.Add(-1) > 0 {
		return nil
	}
	table := w.state.table.SQLName()
	if t.families.later[table] {
		return nil
	}
	if err := analyze(ctx, conn, table); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w.state.analyzed = true
	return nil
}

// createPending creates what of the schema copy has its time now, one by one: a transaction that builds several indexes would
// keep the changes of their tables waiting.
func (a *attempt) createPending(ctx context.Context, conn *pgx.Conn, when schema.When) error {
	entries, err := schema.Pending(ctx, conn, when)
	if err != nil {
		return err
	}
	for i := range entries {
		if err := a.createEntries(ctx, conn, entries[i]); err != nil {
			return err
		}
		a.reached("index built")
	}
	return nil
}

// createEntries runs statements of the schema copy and records them as done. It does not wait for the target's disk: the stage
// that the ledger goes to afterwards is stored so that all before it is too, and a crash before that takes back the records as well.
func (a *attempt) createEntries(ctx context.Context, conn *pgx.Conn, entries ...schema.Stored) error {
	err := schema.Create(ctx, conn, entries, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		return a.ledger.CheckEpoch(ctx, tx)
	})
	if err != nil {
		return schemaFailure(ctx, err)
	}
	return nil
}
