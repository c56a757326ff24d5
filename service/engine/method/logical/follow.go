package logical

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
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

// following is the stream at work.
type following struct {
	logical        *Logical
	job            *job.Job
	source, target database.Endpoint
	apply          *stream.Apply
	cancel         context.CancelFunc
	stopped        atomic.Bool   // Stop was called before it ended
	done           chan struct{} // closed when it has ended
	err            error         // to be read after done
}

// Follow applies changes until ctx ends, it is stopped or something is wrong.
func (l *Logical) Follow(ctx context.Context) (_ method.Following, err error) {
	known, err := l.job.Ledger.TakeOver(ctx, l.sides.Target.Conn)
	if err != nil {
		return nil, err
	}
	apply, err := l.newApply(ctx, known)
	if err != nil {
		return nil, err
	}
	// An earlier worker's session may still read the slot; the ledger's epoch has fenced it already.
	if _, err := l.capture.EndSlotSession(ctx); err != nil {
		return nil, err
	}
	var open []func()
	closeAll := func() {
		for _, closeOne := range open {
			closeOne()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	connect := func(e database.Endpoint) (*pgx.Conn, error) {
		conn, err := e.Connect(ctx)
		if err == nil {
			open = append(open, func() { database.Close(ctx, conn) })
		}
		return conn, err
	}
	from, to := l.sides.Source.Endpoint, l.sides.Target.Endpoint
	replication, err := from.ConnectReplication(ctx)
	if err != nil {
		return nil, err
	}
	open = append(open, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = replication.Close(closing)
	})
	// Once more, on the session that is read: the copy may have taken hours.
	if err := checkHistory(ctx, l.capture, replication, known); err != nil {
		return nil, err
	}
	source, err := connect(from)
	if err != nil {
		return nil, err
	}
	target, err := connect(to)
	if err != nil {
		return nil, err
	}
	if _, err := target.Exec(ctx, planSQL); err != nil {
		return nil, fmt.Errorf("setting up the session that applies changes: %w", err)
	}
	reader, err := connect(to)
	if err != nil {
		return nil, err
	}
	apply.Reader = reader.PgConn()

	running, cancel := context.WithCancel(ctx)
	f := &following{logical: l, job: l.job, source: from, target: to, apply: apply, cancel: cancel, done: make(chan struct{})}
	l.job.Progress.StreamBegan(apply.Transactions)
	go func() {
		defer close(f.done)
		defer closeAll()
		group, groupCtx := errgroup.WithContext(running)
		group.Go(func() error { return apply.Run(groupCtx, replication, target.PgConn()) })
		group.Go(func() error { return f.watch(groupCtx, source) })
		err := group.Wait()
		cancel()
		l.job.Progress.StreamEnded()
		if !f.stopped.Load() {
			f.err = err
		}
	}()
	return f, nil
}

// Done is closed when the stream has ended.
func (f *following) Done() <-chan struct{} { return f.done }

// Err says why it has ended.
func (f *following) Err() error { return f.err }

// Stop ends the stream.
func (f *following) Stop() error {
	select {
	case <-f.done: // by itself
	default:
		f.stopped.Store(true)
		f.cancel()
		<-f.done
	}
	return f.err
}

// Position is that of the newest transaction that is on the target's disk.
func (f *following) Position() pglogrepl.LSN { return f.apply.Flushed() }

// newApply prepares the apply to go on where the ledger says.
func (l *Logical) newApply(ctx context.Context, known ledger.Progress) (*stream.Apply, error) {
	if err := l.job.ReadTables(ctx, l.sides, true); err != nil {
		return nil, err
	}
	entries, err := l.job.Ledger.Tables(ctx, l.sides.Target.Conn)
	if err != nil {
		return nil, err
	}
	apply := &stream.Apply{
		Slot:      capture.Slot(l.job.ID),
		Migration: l.job.ID,
		Epoch:     l.job.Epoch,
		Tables:    make(map[uint32]stream.Table, len(entries)),
		Commit:    known.Commit,
	}
	name := pgx.Identifier{capture.Schema(l.job.ID), capture.BeatTable}.Sanitize()
	if err := l.sides.Source.Conn.QueryRow(ctx, beatOIDSQL, name).Scan(&apply.Beat); err != nil {
		return nil, fmt.Errorf("looking for the heartbeat table on the source: %w", err)
	}
	for _, e := range entries {
		t, _ := l.job.Progress.Table(e.OID)
		from := e.CopyLSN
		if e.Deferred {
			from = never
		} else {
			l.job.Progress.TableReplicating(e.OID)
		}
		apply.Tables[e.OID] = stream.Table{Catalog: t.Catalog, From: from, Counts: t.Changes}
	}
	return apply, nil
}

// truncatedInterval is how often a source that does not tell of TRUNCATE is looked at.
const truncatedInterval = 10 * time.Second

// watch writes the heartbeat, measures the lag, and looks after the slot.
func (f *following) watch(ctx context.Context, conn *pgx.Conn) error {
	source := f.job.Capture(conn)
	beats := map[int64]time.Time{} // those that are not known to be applied yet
	ticker := time.NewTicker(f.job.Settings.Beat)
	defer ticker.Stop()
	var checked, mended time.Time
	for count := 1; ; count++ {
		if time.Since(mended) >= mendInterval {
			if err := f.mend(ctx, conn); err != nil {
				return err
			}
			mended = time.Now()
		}
		if time.Since(checked) >= truncatedInterval {
			if err := checkTruncated(ctx, f.job.Progress, conn); err != nil {
				return err
			}
			checked = time.Now()
		}
		sent := time.Now()
		nonce, err := source.Beat(ctx)
		if err != nil {
			return err
		}
		beats[nonce] = sent
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		state, err := checkSlot(ctx, source)
		if err != nil {
			return err
		}
		if count%walBeats == 0 {
			f.logical.warnOfWAL(state)
		}
		oldest := time.Time{}
		for n, at := range beats {
			if n <= f.apply.LastBeat() {
				delete(beats, n)
			} else if oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
		latency := 0.0
		if !oldest.IsZero() {
			latency = time.Since(oldest).Seconds()
		}
		if flushed := f.apply.Flushed(); flushed > 0 {
			f.job.Progress.LagMeasured(max(int64(state.Now)-int64(flushed), 0), latency)
		}
	}
}

const drainPoll = 20 * time.Millisecond

// Drain writes a marker behind everything that was written before, and waits until it comes out at the target.
func (f *following) Drain(ctx context.Context, source *pgx.Conn) error {
	before := f.apply.LastBeat()
	marker, err := f.job.Capture(source).Beat(ctx)
	if err != nil {
		return err
	}
	if marker <= before { // the stream is that of another server
		return sourceReplaced(fmt.Sprintf("it gave number %d to a heartbeat after the target had number %d", marker, before))
	}
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for f.apply.LastBeat() < marker {
		select {
		case <-ticker.C:
		case <-f.done:
			return method.Interrupted(f.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.mend(ctx, source) // for the last time, now that nobody can write
}
