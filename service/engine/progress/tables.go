package progress

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// Table is what is known of one table at one moment. Its counters go on counting.
type Table struct {
	Catalog  catalog.Table // as it was when it was copied, or read last
	Phase    TablePhase
	Deferred bool // copied in the finalization, not replicated
	Complete bool // the copy is: the counters are exact
	Analyzed bool // the target has statistics of it
	Copied   *snapshot.Counter
	Changes  *stream.Counts

	Verification Verification
	// Of the newest verification that found both sides equal: the position up to which they showed the source's transactions,
	// what they held, and what the source's table showed of changes before.
	EqualAt pglogrepl.LSN
	Content verify.Content
	Sign    catalog.Sign
}

// Changed says whether the table may have been changed since it was found equal, or never was: the stream brought changes, or the
// source's table shows others signs now. What the stream does not say must not be taken for unchanged: it may have lost the table.
func (t Table) Changed(now catalog.Sign) bool {
	return t.Verification != Verified || t.Deferred || pglogrepl.LSN(t.Changes.Changed.Load()) >= t.EqualAt || t.Sign != now
}

func (t Table) report(method ledger.Method) TableProgress {
	p := TableProgress{
		Schema:       t.Catalog.Schema,
		Name:         t.Catalog.Name,
		Phase:        t.Phase,
		RowsCopied:   t.Copied.Rows.Load(),
		BytesCopied:  t.Copied.Bytes.Load(),
		Inserts:      t.Changes.Inserts.Load(),
		Updates:      t.Changes.Updates.Load(),
		Deletes:      t.Changes.Deletes.Load(),
		Verification: t.Verification,
	}
	p.RowsTotal, p.BytesTotal = p.RowsCopied, p.BytesCopied
	if !t.Complete && (t.Phase != TableDeferred || method == ledger.Offline) {
		// The catalog's figures are estimates, and its bytes are those on disk instead of on the wire.
		// As rows arrive, their bytes on the wire take the place of those on disk.
		p.RowsTotal, p.BytesTotal = max(t.Catalog.Rows, p.RowsCopied), max(t.Catalog.Bytes, p.BytesCopied)
		if t.Catalog.Rows > 0 {
			left := 1 - float64(p.RowsCopied)/float64(p.RowsTotal)
			p.BytesTotal = p.BytesCopied + int64(left*float64(t.Catalog.Bytes))
		}
	}
	return p
}

func (t *Table) count(rows, bytes int64) {
	t.Copied.Rows.Store(rows)
	t.Copied.Bytes.Store(bytes)
}

// Tables gives all tables in the order of schema and name.
func (b *Board) Tables() []Table {
	b.mu.Lock()
	defer b.mu.Unlock()
	tables := make([]Table, 0, len(b.tables))
	for _, t := range b.sorted() {
		tables = append(tables, *t)
	}
	return tables
}

func (b *Board) sorted() []*Table {
	tables := make([]*Table, 0, len(b.tables))
	for _, t := range b.tables {
		tables = append(tables, t)
	}
	slices.SortFunc(tables, func(x, y *Table) int {
		return cmp.Or(strings.Compare(x.Catalog.Schema, y.Catalog.Schema), strings.Compare(x.Catalog.Name, y.Catalog.Name))
	})
	return tables
}

// Table gives one table by its OID on the source; found says whether it takes part.
func (b *Board) Table(oid uint32) (t Table, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.tables[oid]
	if known == nil {
		return Table{}, false
	}
	return *known, true
}

// TablesRead says what the ledger and the source know of the tables. The counters of one that is known already go on.
// analyzed says that the target has the statistics of all that is copied. A table that the source does not have any more is
// given as missing.
func (b *Board) TablesRead(entries []ledger.Table, source []catalog.Table, analyzed bool) (missing *ledger.Table) {
	byOID := make(map[uint32]catalog.Table, len(source))
	for _, t := range source {
		byOID[t.OID] = t
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		found, exists := byOID[e.OID]
		if !exists {
			return &e
		}
		t := b.tables[e.OID]
		if t == nil {
			t = &Table{Phase: TablePending, Verification: NotVerified, Copied: &snapshot.Counter{}, Changes: &stream.Counts{}}
			b.tables[e.OID] = t
		}
		t.Catalog, t.Deferred, t.Analyzed = found, e.Deferred, t.Analyzed || analyzed
		switch {
		case e.Deferred:
			t.Phase, t.Complete = TableDeferred, false
			t.count(0, 0)
		case e.Copied:
			t.Complete = true
			t.count(e.Rows, e.Bytes)
		default:
			t.Phase, t.Complete = TablePending, false
			t.count(0, 0)
		}
	}
	return nil
}

// SnapshotTaken takes over the tables as they were when a snapshot was taken: their filenodes are what a copy is checked
// against.
func (b *Board) SnapshotTaken(tables []catalog.Table) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, found := range tables {
		if t := b.tables[found.OID]; t != nil {
			if t.Complete { // what it was copied from, so that a later rewrite shows
				found.Filenode = t.Catalog.Filenode
			}
			t.Catalog = found
		}
	}
}

// change changes the table of that OID.
func (b *Board) change(oid uint32, to func(*Table)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.tables[oid]; t != nil {
		to(t)
	}
}

// TableCopying says that a table, or the next part of it, is copied now. A whole one is counted anew.
func (b *Board) TableCopying(oid uint32, whole bool) {
	b.change(oid, func(t *Table) {
		t.Phase = TableCopying
		if whole {
			t.count(0, 0)
		}
	})
}

// TableBrokenOff says that the copy of a table was broken off.
func (b *Board) TableBrokenOff(oid uint32) { b.change(oid, func(t *Table) { t.Phase = TablePending }) }

// TableCopied says that a table is copied whole, and how many rows it has.
func (b *Board) TableCopied(oid uint32, rows int64) {
	b.change(oid, func(t *Table) {
		t.Phase, t.Complete = TableIndexing, true
		t.Copied.Rows.Store(rows)
	})
}

// TableAnalyzed says that the target has statistics of a table.
func (b *Board) TableAnalyzed(oid uint32) { b.change(oid, func(t *Table) { t.Analyzed = true }) }

// TableReplicating says that changes of a table are applied.
func (b *Board) TableReplicating(oid uint32) {
	b.change(oid, func(t *Table) { t.Phase = TableReplicating })
}

// TableDeferredAgain says that a deferred table is copied, and that another finalization would copy it anew.
func (b *Board) TableDeferredAgain(oid uint32) {
	b.change(oid, func(t *Table) { t.Phase = TableDeferred })
}

// copying is the newest copy of this run, for its rate.
type copying struct {
	from, to time.Time // zero: not yet
	before   int64     // bytes that were there already
}

// CopyBegan says that tables are copied from now on.
func (b *Board) CopyBegan() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.copying = copying{from: time.Now()}
	for _, t := range b.tables {
		if t.Complete {
			b.copying.before += t.Copied.Bytes.Load()
		}
	}
}

// CopyEnded says that none is copied any more.
func (b *Board) CopyEnded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.copying.to = time.Now()
}

// estimate adds the copy's rate and, while it runs, its likely end.
func (c copying) estimate(p *Progress, now time.Time) {
	if c.from.IsZero() {
		return
	}
	end := c.to
	if end.IsZero() {
		end = now
	}
	seconds := end.Sub(c.from).Seconds()
	copied := p.BytesCopied - c.before
	if seconds < 0.001 || copied <= 0 {
		return
	}
	p.BytesPerSecond = int64(float64(copied) / seconds)
	if c.to.IsZero() && p.BytesPerSecond > 0 {
		left := time.Duration(float64(p.BytesTotal-p.BytesCopied) / float64(p.BytesPerSecond) * float64(time.Second))
		at := end.Add(left).UTC().Truncate(time.Second)
		p.EstimatedEnd = &at
	}
}
