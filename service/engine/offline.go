package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// The offline method serves a source that cannot replicate. Nothing is captured there: the schema is copied at once, and all
// rows in the finalization, under the fence.

// logicalReason is shown for a source that can replicate.
const logicalReason = "the source has wal_level logical and its login may replicate"

// setMethod takes over how the migration carries changes; it was decided once and is in the ledger.
func (r *Replication) setMethod(method ledger.Method, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.method, r.methodReason = method, reason
}

func (r *Replication) offline() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.method == ledger.Offline
}

// beginOffline takes the migration from nothing to a target that holds the schema and the ledger.
func (a *attempt) beginOffline(ctx context.Context) error {
	// An attempt that died before it had a ledger may have begun by logical decoding.
	if err := a.capture.DropSlot(ctx, a.from.ConnectReplication); err != nil {
		return err
	}
	if err := a.capture.Unpublish(ctx); err != nil {
		return err
	}
	if err := a.capture.PrepareRecords(ctx); err != nil {
		return err
	}
	a.setPhase(PhaseSnapshot)
	keeper, err := snapshotOfNow(ctx, a.from)
	if err != nil {
		return err
	}
	defer keeper.Close(ctx)
	tables, err := catalog.Tables(ctx, keeper.Conn())
	if err != nil {
		return err
	}
	a.setPhase(PhaseSchema)
	return a.copySchema(ctx, &base{Keeper: keeper, tables: tables})
}

// snapshotOfNow takes a snapshot without a slot. The caller closes it.
func snapshotOfNow(ctx context.Context, source endpoint) (*snapshot.Keeper, error) {
	conn, err := source.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return snapshot.KeepCurrent(ctx, conn, 0)
}

const databaseSizeSQL = `SELECT pg_catalog.pg_database_size(pg_catalog.current_database())`

// await keeps the migration ready to be finalized until ctx ends, a finalization stops it (errFinalizing) or something is
// wrong. It is what the stream is to the logical method.
func (a *attempt) await(ctx context.Context) error {
	if err := a.loadTables(ctx); err != nil {
		return err
	}
	fingerprint, err := a.ledger.Fingerprint(ctx, a.target)
	if err != nil {
		return err
	}
	var size int64
	if err := a.source.QueryRow(ctx, databaseSizeSQL).Scan(&size); err != nil {
		return fmt.Errorf("reading the size of the source: %w", err)
	}
	text := preflight.OfflineText(size)
	a.warn(strings.ToUpper(text[:1]) + text[1:])

	stoppable, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l := &live{source: a.from, target: a.to, stop: stop, done: make(chan struct{})}
	a.mu.Lock()
	for _, s := range a.tables {
		l.tables = append(l.tables, s.table)
	}
	a.size, a.live, a.phase = size, l, PhaseInSync
	a.mu.Unlock()
	a.log.Info("phase", "phase", string(PhaseInSync), "method", string(ledger.Offline))
	err = a.watchSchema(stoppable, fingerprint)
	if errors.Is(context.Cause(stoppable), errFinalizing) {
		l.stopped = true
		err = errFinalizing
	}
	a.mu.Lock()
	a.live = nil
	if !l.stopped {
		a.phase = PhasePreparing
	}
	a.mu.Unlock()
	close(l.done)
	return err
}

// watchSchema looks for changes of the source's schema and for another worker, until ctx ends.
func (a *attempt) watchSchema(ctx context.Context, fingerprint catalog.Fingerprint) error {
	watch := &schemaWatch{Replication: a.Replication, copied: fingerprint}
	ticker := time.NewTicker(fingerprintInterval)
	defer ticker.Stop()
	for {
		if err := a.ledger.CheckEpoch(ctx, a.target); err != nil {
			return err
		}
		if err := watch.check(ctx, a.source); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// copyAll copies all tables from one snapshot of the fenced source, the largest first, and builds the indexes. What an earlier
// finalization has copied is replaced; the indexes that it has built stay.
func (f *finalization) copyAll(ctx context.Context) error {
	a := f.attempt()
	keeper, err := snapshotOfNow(ctx, f.live.source)
	if err != nil {
		return err
	}
	defer keeper.Close(ctx)
	tables, err := catalog.Tables(ctx, keeper.Conn())
	if err != nil {
		return err
	}
	slices.SortStableFunc(tables, func(x, y catalog.Table) int { return cmp.Compare(y.Bytes, x.Bytes) })
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.OID
	}
	a.adopt(tables)
	if err := a.transfer(ctx, keeper, oids); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.tables {
		s.phase = TableDeferred
	}
	return nil
}

// flushed is the position up to which the target shows the source's transactions; 0 with the offline method, which has none.
func (l *live) flushed() pglogrepl.LSN {
	if l.apply == nil {
		return 0
	}
	return l.apply.Flushed()
}

// attempt gives what is left of the attempt that the finalization has stopped, with the finalization's own sessions.
func (f *finalization) attempt() *attempt {
	return &attempt{
		Replication: f.Replication, from: f.live.source, to: f.live.target, source: f.source, target: f.target,
		capture: capture.Source{ID: f.migration.ID, Conn: f.source},
	}
}

// offlineShare is how many times its estimated duration an offline copy may take, on top of the finalization's own limit.
const offlineShare = 3

// finalizationLimit is how long writers may be kept off the source.
func (r *Replication) finalizationLimit() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.engine.Settings.FinalizationLimit
	if r.method == ledger.Offline {
		limit += offlineShare * preflight.OfflineTime(r.size)
	}
	return limit
}
