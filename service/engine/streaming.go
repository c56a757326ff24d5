package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

const (
	fingerprintInterval = 10 * time.Second

	// IN-SYNC wants this, for so many beats in a row; it ends when it is not so for as many. One large transaction more or less
	// is no reason to turn away a finalization that a script asks for after it saw IN-SYNC.
	inSyncBytes   = 1 << 20
	inSyncSeconds = 5.0
	inSyncBeats   = 3
)

// planSQL makes every prepared statement find its row by the key. Its plan is kept, and one that was made while the table was
// small would read the whole table for each row when the table has grown. plan_cache_mode is new in 12.
const planSQL = `
SELECT pg_catalog.set_config(name, CASE name WHEN 'plan_cache_mode' THEN 'force_generic_plan' ELSE 'off' END, false)
FROM pg_catalog.pg_settings
WHERE name IN ('enable_seqscan', 'enable_bitmapscan', 'plan_cache_mode')`

// never is behind all changes: one to a table that is copied under the fence is left out.
const never = pglogrepl.LSN(math.MaxUint64)

const beatOIDSQL = `SELECT pg_catalog.to_regclass($1)::oid`

// stream applies changes until ctx ends, a finalization stops it (errFinalizing) or something is wrong.
func (a *attempt) stream(ctx context.Context) error {
	a.setPhase(PhaseCatchingUp)
	progress, err := a.ledger.TakeOver(ctx, a.target)
	if err != nil {
		return err
	}
	apply, tables, err := a.newApply(ctx, progress)
	if err != nil {
		return err
	}
	// An earlier worker's session may still read the slot; the ledger's epoch has fenced it already.
	if _, err := a.capture.EndSlotSession(ctx); err != nil {
		return err
	}
	replication, err := a.from.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = replication.Close(closing)
	}()
	// Once more, on the session that is read: the copy may have taken hours.
	if err := a.checkHistory(ctx, replication, progress); err != nil {
		return err
	}
	target, err := a.to.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, target)
	if _, err := target.Exec(ctx, planSQL); err != nil {
		return fmt.Errorf("setting up the session that applies changes: %w", err)
	}

	reader, err := a.to.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, reader)
	apply.Reader = reader.PgConn()

	stoppable, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l := &live{source: a.from, target: a.to, tables: tables, apply: apply, stop: stop, done: make(chan struct{})}
	a.mu.Lock()
	a.live = l
	a.mu.Unlock()
	group, groupCtx := errgroup.WithContext(stoppable)
	group.Go(func() error { return apply.Run(groupCtx, replication, target.PgConn()) })
	group.Go(func() error { return a.watch(groupCtx, apply) })
	group.Go(func() error { return a.validate(groupCtx, l) })
	err = group.Wait()
	var difference *differenceError
	switch cause := context.Cause(stoppable); {
	case errors.Is(cause, errFinalizing):
		l.stopped = true
		err = errFinalizing
	case errors.As(cause, &difference):
		err = difference
	}
	a.mu.Lock()
	a.live, a.lag = nil, nil
	a.streamed += apply.Transactions()
	if !l.stopped {
		a.phase = PhaseCatchingUp
	}
	a.mu.Unlock()
	close(l.done)
	return err
}

// newApply prepares the apply to go on where the ledger says.
func (a *attempt) newApply(ctx context.Context, progress ledger.Progress) (*stream.Apply, []catalog.Table, error) {
	if err := a.loadTables(ctx); err != nil {
		return nil, nil, err
	}
	entries, err := a.ledger.Tables(ctx, a.target)
	if err != nil {
		return nil, nil, err
	}
	apply := &stream.Apply{
		Slot:      capture.Slot(a.migration.ID),
		Migration: a.migration.ID,
		Epoch:     a.migration.Epoch,
		Tables:    make(map[uint32]stream.Table, len(entries)),
		Commit:    progress.Commit,
	}
	name := pgx.Identifier{capture.Schema(a.migration.ID), capture.BeatTable}.Sanitize()
	if err := a.source.QueryRow(ctx, beatOIDSQL, name).Scan(&apply.Beat); err != nil {
		return nil, nil, fmt.Errorf("looking for the heartbeat table on the source: %w", err)
	}
	var tables []catalog.Table
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range entries {
		s := a.tables[e.OID]
		tables = append(tables, s.table)
		from := e.CopyLSN
		if e.Deferred {
			from = never
		} else {
			s.phase = TableReplicating
		}
		apply.Tables[e.OID] = stream.Table{Table: s.table, From: from, Counts: &s.changes}
	}
	return apply, tables, nil
}

// watch writes the heartbeat, measures the lag, and looks for changes of the schema and for the slot's health.
func (a *attempt) watch(ctx context.Context, apply *stream.Apply) error {
	fingerprint, err := a.ledger.Fingerprint(ctx, a.target)
	if err != nil {
		return err
	}
	watch := &schemaWatch{Replication: a.Replication, copied: fingerprint}
	beats := map[int64]time.Time{} // those that are not known to be applied yet
	ticker := time.NewTicker(a.engine.Settings.Beat)
	defer ticker.Stop()
	var checked time.Time
	for {
		if time.Since(checked) >= fingerprintInterval {
			if err := watch.check(ctx, a.source); err != nil {
				return err
			}
			if err := a.checkTruncated(ctx); err != nil {
				return err
			}
			checked = time.Now()
		}
		sent := time.Now()
		nonce, err := a.capture.Beat(ctx)
		if err != nil {
			return err
		}
		beats[nonce] = sent
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		state, err := a.checkSlot(ctx)
		if err != nil {
			return err
		}
		oldest := time.Time{}
		for n, at := range beats {
			if n <= apply.LastBeat() {
				delete(beats, n)
			} else if oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
		latency := 0.0
		if !oldest.IsZero() {
			latency = time.Since(oldest).Seconds()
		}
		if flushed := apply.Flushed(); flushed > 0 {
			a.measured(max(int64(state.Now)-int64(flushed), 0), latency)
		}
	}
}

// measured records the lag and decides on IN-SYNC.
func (a *attempt) measured(bytes int64, seconds float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	good := bytes < inSyncBytes && seconds < inSyncSeconds
	inSync := a.phase == PhaseInSync
	against := 0
	if good != inSync {
		if against = 1; a.lag != nil {
			against += a.lag.against
		}
	}
	if against >= inSyncBeats {
		inSync, against = good, 0
	}
	a.lag = &lag{bytes: bytes, seconds: seconds, against: against}
	phase := PhaseCatchingUp
	if inSync {
		phase = PhaseInSync
	}
	if a.phase != phase {
		a.log.Info("phase", "phase", string(phase), "lag_bytes", bytes, "lag_seconds", seconds)
		a.phase = phase
	}
}
