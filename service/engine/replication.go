package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"golang.org/x/sync/semaphore"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// Replication is one running migration in this process.
type Replication struct {
	engine    *Engine
	migration Migration
	ledger    ledger.Ledger
	log       *slog.Logger

	mu           sync.Mutex // guards what follows
	phase        Phase
	method       ledger.Method // empty until it is decided
	methodReason string
	size         int64 // of the source in bytes, known to the offline method only
	prepared     bool  // something may have been made on the source
	warnings     []string
	tables       map[uint32]*tableState // by OID on the source
	copyFrom     time.Time              // when the copy of this run began, zero before
	copyTo       time.Time              // when it ended
	carried      int64                  // bytes that were there before
	lag          *lag
	streamed     int64 // transactions applied by earlier streams of this run
	live         *live
	over         bool // Run has ended
	steps        []Step
	verified     []TableVerification
	fenced       time.Duration
	fencedAt     time.Time // zero: not fenced now

	noRoom     atomic.Pointer[string] // the side whose lock table was the last to be found full
	finalizing atomic.Bool
	verifying  *semaphore.Weighted // held while tables are compared online
	// resume is where Run waits, when an attempt has ended for a finalization, for its outcome: nil means that all is done,
	// errCopyAgain and errNotFinalized that the replication goes on, a *Failure that it cannot.
	resume chan error
}

// tableState is what is known of one table. Its counters are safe for concurrent use, the rest is guarded by Replication.mu.
type tableState struct {
	table      catalog.Table
	phase      TablePhase
	deferred   bool // copied in the finalization, not replicated
	copied     snapshot.Counter
	done       bool // the copy is complete: the counters are exact
	analyzed   bool // this worker gathered the target's statistics
	changes    stream.Counts
	validation Validation
	// Of the newest comparison that found both sides equal: the position up to which they showed the source's transactions,
	// and what they held.
	validatedAt pglogrepl.LSN
	content     verify.Content
}

// lag is the newest measurement of how far the target is behind.
type lag struct {
	bytes   int64
	seconds float64
	against int // measurements in a row that speak against the present phase, IN-SYNC or not
}

// live is what a finalization needs of the stream that runs now, or of the offline method's waiting.
type live struct {
	source, target endpoint
	tables         []catalog.Table
	apply          *stream.Apply // nil with the offline method
	stop           context.CancelCauseFunc
	done           chan struct{} // closed when the stream has ended
	stopped        bool          // it ended for the finalization; to be read after done
}

// NewReplication prepares m; nothing is done before Run.
func (e *Engine) NewReplication(m Migration) *Replication {
	return &Replication{
		engine:    e,
		migration: m,
		ledger:    ledger.Ledger{Migration: m.ID, Epoch: m.Epoch},
		log:       e.Log.With("migration", m.ID, "epoch", m.Epoch),
		phase:     PhasePreparing,
		tables:    map[uint32]*tableState{},
		verifying: semaphore.NewWeighted(1),
		resume:    make(chan error, 1),
	}
}

const (
	retryPause    = time.Second
	retryPauseMax = 15 * time.Second

	// A lock table that is too small stays so until its server is started anew; others may fill one for a moment. So many
	// attempts may find it full, with so much time in between, unless the one before was long ago.
	noRoomTries  = 4
	noRoomPause  = 5 * time.Second
	noRoomMemory = time.Hour
)

// Run prepares (preflight check included), copies and then applies changes until
//   - ctx ends: it gives ctx's error, and another Run with a higher epoch goes on from there;
//   - the migration is finalized: nil;
//   - it cannot go on: a *Failure. The source stays usable.
//
// Lost connections and restarted servers are survived.
func (r *Replication) Run(ctx context.Context) error {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.over = true
	}()
	pause := retryPause
	healthy := time.Now()
	var noRoom roomTries
	for {
		err := r.attempt(ctx, &healthy)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errFinalizing):
			select {
			case err = <-r.resume:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		switch {
		case err == nil:
			r.setPhase(PhaseCompleted)
			return nil
		case errors.Is(err, errNotFinalized), errors.Is(err, errCopyAgain):
			continue
		}
		failure := r.classify(err)
		full := failure != nil && failure.Code == CodeLockTableFull && noRoom.another()
		if failure != nil && !full {
			r.log.Error("replication failed", "code", failure.Code, "error", err)
			return failure
		}
		if time.Since(healthy) > r.engine.Settings.GiveUpAfter {
			return unreachable(err)
		}
		if time.Since(healthy) < retryPauseMax {
			pause = retryPause
		}
		if full {
			pause = noRoomPause
		}
		r.log.Warn("replication interrupted, trying again", "error", err, "pause", pause.String())
		r.warn("Interrupted at " + time.Now().UTC().Format(time.TimeOnly) + " UTC and tried again: " + brief(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, retryPauseMax)
	}
}

// roomTries counts the attempts that a full lock table has ended.
type roomTries struct {
	count  int
	newest time.Time
}

// another counts one more and says whether it is to be tried again.
func (t *roomTries) another() bool {
	if time.Since(t.newest) > noRoomMemory {
		t.count = 0
	}
	t.count, t.newest = t.count+1, time.Now()
	return t.count < noRoomTries
}

// reached tells a test that a worker that dies now leaves behind all before this point and nothing after it.
func (r *Replication) reached(point string) {
	if r.engine.reached != nil {
		r.engine.reached(point)
	}
}

func (r *Replication) setPhase(p Phase) {
	r.reached(string(p))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != p {
		r.log.Info("phase", "phase", string(p))
		r.phase = p
	}
}

// maxWarnings bounds the list; the newest are kept.
const maxWarnings = 20

func (r *Replication) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.warnings, text) {
		return
	}
	r.warnings = append(r.warnings, text)
	if len(r.warnings) > maxWarnings {
		r.warnings = r.warnings[len(r.warnings)-maxWarnings:]
	}
}

// Progress is safe for concurrent use at any time.
func (r *Replication) Progress() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := Progress{
		Phase:               r.phase,
		Method:              string(r.method),
		MethodReason:        r.methodReason,
		InSync:              r.phase == PhaseInSync,
		TransactionsApplied: r.streamed,
		Warnings:            append([]string{}, r.warnings...),
		Tables:              make([]TableProgress, 0, len(r.tables)),
	}
	if r.finalizing.Load() && r.phase == PhaseInSync {
		p.Phase = PhaseFinalizing
	}
	if r.live != nil && r.live.apply != nil {
		p.TransactionsApplied += r.live.apply.Transactions()
	}
	if r.lag != nil {
		bytes, seconds := r.lag.bytes, r.lag.seconds
		p.LagBytes, p.LagSeconds = &bytes, &seconds
	}
	for _, s := range r.tables {
		t := s.progress(r.method)
		p.Tables = append(p.Tables, t)
		p.BytesCopied += t.BytesCopied
		p.BytesTotal += t.BytesTotal
		p.RowsCopied += t.RowsCopied
		p.RowsTotal += t.RowsTotal
	}
	slices.SortFunc(p.Tables, func(a, b TableProgress) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Name, b.Name))
	})
	r.estimate(&p)
	return p
}

// estimate adds the copy's rate and, while it runs, its likely end.
func (r *Replication) estimate(p *Progress) {
	if r.copyFrom.IsZero() {
		return
	}
	end := r.copyTo
	if end.IsZero() {
		end = time.Now()
	}
	seconds := end.Sub(r.copyFrom).Seconds()
	copied := p.BytesCopied - r.carried
	if seconds < 0.001 || copied <= 0 {
		return
	}
	p.BytesPerSecond = int64(float64(copied) / seconds)
	if r.copyTo.IsZero() && p.BytesPerSecond > 0 {
		left := time.Duration(float64(p.BytesTotal-p.BytesCopied) / float64(p.BytesPerSecond) * float64(time.Second))
		at := end.Add(left).UTC().Truncate(time.Second)
		p.EstimatedEnd = &at
	}
}

func (s *tableState) progress(method ledger.Method) TableProgress {
	t := TableProgress{
		Schema:      s.table.Schema,
		Name:        s.table.Name,
		Phase:       s.phase,
		RowsCopied:  s.copied.Rows.Load(),
		BytesCopied: s.copied.Bytes.Load(),
		Inserts:     s.changes.Inserts.Load(),
		Updates:     s.changes.Updates.Load(),
		Deletes:     s.changes.Deletes.Load(),
		Validation:  s.validation,
	}
	t.RowsTotal, t.BytesTotal = t.RowsCopied, t.BytesCopied
	if !s.done && (s.phase != TableDeferred || method == ledger.Offline) {
		// The catalog's figures are estimates, and its bytes are those on disk instead of on the wire.
		// As rows arrive, their bytes on the wire take the place of those on disk.
		t.RowsTotal, t.BytesTotal = max(s.table.Rows, t.RowsCopied), max(s.table.Bytes, t.BytesCopied)
		if s.table.Rows > 0 {
			left := 1 - float64(t.RowsCopied)/float64(t.RowsTotal)
			t.BytesTotal = t.BytesCopied + int64(left*float64(s.table.Bytes))
		}
	}
	return t
}

// FinalizationProgress is safe for concurrent use at any time.
func (r *Replication) FinalizationProgress() FinalizationProgress {
	r.mu.Lock()
	defer r.mu.Unlock()
	fenced := r.fenced
	if !r.fencedAt.IsZero() {
		fenced += time.Since(r.fencedAt)
	}
	verified := append([]TableVerification{}, r.verified...)
	slices.SortFunc(verified, func(a, b TableVerification) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Name, b.Name))
	})
	return FinalizationProgress{
		Steps:         append([]Step{}, r.steps...),
		FencedSeconds: fenced.Seconds(),
		Verification:  verified,
	}
}

// endpoints gives the two databases with the newest credentials.
func (r *Replication) endpoints(ctx context.Context) (source, target endpoint, err error) {
	s, t, err := r.migration.Databases(ctx)
	if err != nil {
		return endpoint{}, endpoint{}, fmt.Errorf("reading the credentials of the databases: %w", err)
	}
	application := "pgmig_" + r.migration.ID
	return endpoint{s, "source", application, &r.noRoom}, endpoint{t, "target", application, &r.noRoom}, nil
}
