// Package transfer brings rows over: tables in parts, their indexes as soon as they are complete, and statistics.
package transfer

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/build"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// transfer brings tables over: copy workers take parts of them, the largest tables first, and as soon as a table is
// complete, index workers build its indexes while others are still copied.
type transfer struct {
	job    *job.Job
	sides  job.Sides
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
	piece snapshot.Part
	table *copiedTable
}

// copiedTable is a table while its parts are copied. Its counters are shared by the workers.
type copiedTable struct {
	known     progress.Table
	left      atomic.Int32 // parts
	rows      atomic.Int64
	rewritten atomic.Bool
}

// work is what an index worker does for a table: build an index, and gather statistics after the last one.
type work struct {
	entry *schema.Stored // nil: there is no index
	table catalog.Table
	left  *atomic.Int32 // indexes of the table; the worker that finishes the last one gathers statistics; nil: there is no table
}

// Points are where, in their order, a worker may die between two durable steps of this room.
func Points() []string { return []string{sent, copied, string(progress.Indexing), build.Built} }

const (
	sent   = "part sent"
	copied = "part copied"
)

// Order says what is to be brought over.
type Order struct {
	Keeper   *snapshot.Keeper // of the snapshot that rows come from; nil if there are none to copy
	OIDs     []uint32         // of the tables, on the source
	Families bool             // statistics of partitioned tables and of parents are gathered, too
}

// Tables copies the tables of an order from the keeper's snapshot, builds the indexes of all tables, attaches those of
// partitions, and gathers statistics. It closes the keeper as soon as all is
// copied: that frees the source's horizon for VACUUM. A table that was rewritten meanwhile is left out; the others are not
// thrown away for it, and the error makes the next attempt copy it from a new snapshot.
func Tables(ctx context.Context, j *job.Job, s job.Sides, o Order) error {
	if err := build.Pending(ctx, j, s.Target.Conn, schema.Statistics); err != nil {
		return err
	}
	t := &transfer{job: j, sides: s, keeper: o.Keeper, later: map[uint32][]work{}, rewritten: make(chan error, len(o.OIDs))}
	if err := t.plan(ctx, o); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(t.works)
		return t.copyAll(groupCtx)
	})
	for range max(j.Settings.IndexWorkers, 1) {
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
	if err := build.Pending(ctx, j, s.Target.Conn, schema.Attachments); err != nil {
		return err
	}
	return t.analyzeFamilies(ctx)
}

// plan divides large tables and says which index waits for which table.
func (t *transfer) plan(ctx context.Context, o Order) error {
	tables := map[uint32]progress.Table{}
	for _, known := range t.job.Progress.Tables() {
		tables[known.Catalog.OID] = known
	}
	var parts []part
	for _, oid := range o.OIDs {
		known := tables[oid]
		pieces, err := snapshot.Split(ctx, t.keeper.Conn(), known.Catalog, t.job.Settings.PartBytes)
		if err != nil {
			return err
		}
		table := &copiedTable{known: known}
		table.left.Store(int32(len(pieces)))
		for _, p := range pieces {
			parts = append(parts, part{p, table})
		}
		if len(pieces) > 1 {
			if err := t.empty(ctx, known.Catalog); err != nil {
				return err
			}
		}
		t.later[oid] = nil
	}
	t.parts = make(chan part, len(parts))
	for _, p := range parts {
		t.parts <- p
	}
	close(t.parts)
	if o.Families {
		if err := t.readFamilies(ctx, tables); err != nil {
			return err
		}
	}
	return t.planWorks(ctx, tables)
}

// empty removes what an attempt that was broken off may have left of a table that is copied in several transactions.
func (t *transfer) empty(ctx context.Context, table catalog.Table) error {
	return pgx.BeginFunc(ctx, t.sides.Target.Conn, func(tx pgx.Tx) error {
		if err := snapshot.Empty(ctx, tx, table); err != nil {
			return err
		}
		return t.job.Ledger.CheckEpoch(ctx, tx)
	})
}

// planWorks hands over what can be done at once and keeps what waits for the copy of a table.
func (t *transfer) planWorks(ctx context.Context, tables map[uint32]progress.Table) error {
	entries, err := schema.Pending(ctx, t.sides.Target.Conn, schema.Indexes)
	if err != nil {
		return err
	}
	indexes, err := catalog.Indexes(ctx, t.sides.Source.Conn)
	if err != nil {
		return err
	}
	tableOf := ownersOf(indexes)
	ofTable := map[uint32][]work{}
	var others []work
	for i := range entries {
		oid := tableOf[entryKey{entries[i].Kind, entries[i].Schema, entries[i].Name}]
		if known, found := tables[oid]; found {
			ofTable[oid] = append(ofTable[oid], work{entry: &entries[i], table: known.Catalog})
		} else {
			others = append(others, work{entry: &entries[i]}) // of a partitioned table, which holds no rows
		}
	}
	t.works = make(chan work, len(entries)+len(tables))
	for _, w := range others {
		t.works <- w
	}
	for oid, known := range tables {
		works := ofTable[oid]
		_, waits := t.later[oid]
		if len(works) == 0 {
			if known.Analyzed && !waits {
				continue
			}
			works = []work{{table: known.Catalog}}
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
