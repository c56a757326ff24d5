package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// The steps of a finalization, in their order.
const (
	stepCheck               = "check"
	stepOnline              = "online verification"
	stepObjectsBefore       = "large objects before the fence"
	stepFence               = "fence"
	stepDrain               = "drain"
	stepDeferred            = "deferred tables"
	stepObjects             = "large objects"
	stepVerification        = "verification"
	stepSequences           = "sequences"
	stepConstraints         = "constraints"
	stepObjectsVerification = "verification of large objects"
	stepOpening             = "opening"
	stepRelease             = "release"
)

// undoTime bounds the work that gives the source back after a failure.
const undoTime = time.Minute

// finalization is one try to end a migration.
type finalization struct {
	*Replication
	live   *live
	source *pgx.Conn
	target *pgx.Conn
	fence  *fence.Fence
	raised bool // the fence may keep writers off
	// positions are those of the source's sequences at which the target's stand, too.
	positions map[catalog.Sequence]bool
}

// errUnknownOutcome says that the connection broke during the commit that opens the target. The ledger knows; nothing on the
// source may be undone before it was asked.
var errUnknownOutcome = errors.New("the connection to the target was lost in the moment of the opening")

// Finalize ends the migration while Run is at work in another goroutine, and waits until it is in sync: online verification of
// what has changed, fence, drain, verification of what has changed since, sequences, constraints, opening, release. The opening is
// one transaction on the target; its commit is the point of no return, after which opened is called and must store durably that
// the target is the truth from now on. On an error (a *Failure, or ctx's error) the source is writable again and Run goes on, so
// that Finalize can be called again. After nil, Run gives nil too.
func (r *Replication) Finalize(ctx context.Context, opened func(context.Context) error) error {
	if !r.finalizing.CompareAndSwap(false, true) {
		return &Failure{Code: CodeDatabase, Message: "A finalization is running already"}
	}
	defer r.finalizing.Store(false)
	r.mu.Lock()
	r.steps, r.verified = nil, nil
	if r.fencedAt.IsZero() {
		r.fenced = 0
	}
	r.mu.Unlock()
	limit := r.finalizationLimit()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := r.awaitFinalizable(limited)
	if err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	f := &finalization{Replication: r, live: l}
	err = f.run(limited, opened)
	if err == nil {
		return nil
	}
	r.log.Warn("finalization failed", "error", err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return &Failure{
			Code:    CodeTimeout,
			Message: "The finalization took longer than " + limit.String() + " and was given up; the source is writable again",
			Hint:    "Try again at a time of less load, or ask the operator to raise the limit.",
		}
	}
	if failure := f.classify(err); failure != nil {
		return failure
	}
	return &Failure{Code: CodeDatabase, Message: "The finalization was interrupted: " + err.Error(), Hint: "Run 'cf pg-migrate create-finalization' again.", Err: err}
}

// awaitFinalizable waits while the lag is too large for a moment, a database is out of reach, or a fence of before could not be
// lifted yet.
func (r *Replication) awaitFinalizable(ctx context.Context) (*live, error) {
	ticker := time.NewTicker(inSyncPoll)
	defer ticker.Stop()
	for {
		r.mu.Lock()
		l, over := r.live, r.over
		inSync := l != nil && r.phase == PhaseInSync && r.fencedAt.IsZero()
		r.mu.Unlock()
		switch {
		case over || ctx.Err() != nil:
			return nil, &Failure{Code: CodeNotInSync, Message: "The replication is not in sync", Hint: "Wait until 'cf pg-migrate replication' shows IN-SYNC, then finalize again."}
		case inSync:
			return l, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

func (f *finalization) run(ctx context.Context, opened func(context.Context) error) (err error) {
	if f.source, err = f.live.source.Connect(ctx); err != nil {
		return err
	}
	defer closeConn(ctx, f.source)
	if f.target, err = f.live.target.Connect(ctx); err != nil {
		return err
	}
	defer closeConn(ctx, f.target)
	f.fence = &fence.Fence{Schema: capture.Schema(f.migration.ID), Dial: f.live.source.Connect}
	stopped := false
	defer func() {
		if err == nil {
			return
		}
		f.endStep()
		if f.raised && !errors.Is(err, errUnknownOutcome) {
			f.undo(ctx)
		}
		if stopped {
			f.setPhase(PhaseCatchingUp)
			f.resume <- f.failed(ctx, err)
		}
	}()

	f.step(stepCheck)
	checked, err := f.carrySchema(ctx)
	if err != nil {
		return err
	}

	if err := f.setSequences(ctx); err != nil {
		return err
	}
	if !f.offline() {
		f.step(stepOnline)
		if err := f.verifyBefore(ctx); err != nil {
			return err
		}
	}
	if err := f.copyLargeObjects(ctx, stepObjectsBefore); err != nil {
		return err
	}
	f.step(stepFence)
	f.raised = true
	f.mu.Lock()
	f.fencedAt = time.Now()
	f.mu.Unlock()
	if err := f.raiseFence(ctx); err != nil {
		return err
	}
	if err := f.unchanged(ctx, checked); err != nil {
		return err
	}

	if !f.offline() {
		f.step(stepDrain)
		if err := f.drain(ctx); err != nil {
			return err
		}
	}
	f.live.stop(errFinalizing)
	<-f.live.done
	if !f.live.stopped {
		return errInterrupted
	}
	stopped = true

	f.step(stepDeferred)
	if err := f.copyDeferred(ctx); err != nil {
		return err
	}
	if err := f.copyLargeObjects(ctx, stepObjects); err != nil {
		return err
	}
	f.step(stepVerification)
	if err := f.verify(ctx); err != nil {
		return err
	}
	if err := f.open(ctx); err != nil {
		return err
	}

	// The target is the truth now. What follows cannot fail the finalization, and must not stop with its caller.
	f.unfenced()
	ctx = context.WithoutCancel(ctx)
	f.step(stepRelease)
	if err := f.storeOpened(ctx, opened); err != nil {
		// The ledger stays on the target: it is the only record of the opening.
		f.log.Error("storing that the target was opened", "error", err)
	} else if err := f.releaseSource(ctx); err != nil {
		f.log.Warn("releasing the source after the opening", "error", err)
		f.warn("What the migration left on the source could not all be removed yet; delete-replication removes it: " + brief(err))
	}
	f.fence.Release(ctx)
	f.endStep()
	f.resume <- nil
	return nil
}

// openedTries is how often the caller is asked to store the opening, with retryPause between.
const openedTries = 60

func (f *finalization) storeOpened(ctx context.Context, opened func(context.Context) error) (err error) {
	for range openedTries {
		if err = opened(ctx); err == nil {
			return nil
		}
		time.Sleep(retryPause)
	}
	return err
}

func (f *finalization) releaseSource(ctx context.Context) error {
	f.reached("opening stored")
	return f.attempt().release(ctx, f.fence)
}

// step ends the step before and begins the named one.
func (f *finalization) step(name string) {
	f.reached(name)
	f.endStep()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.Info("finalization", "step", name)
	f.steps = append(f.steps, Step{Name: name, StartedAt: time.Now().UTC()})
}

func (f *finalization) endStep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.steps); n > 0 && f.steps[n-1].Seconds == nil {
		seconds := time.Since(f.steps[n-1].StartedAt).Seconds()
		f.steps[n-1].Seconds = &seconds
	}
}

// unfenced stops the clock of the fence, now that writers are known to be let in again, or at the target.
func (r *Replication) unfenced() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fencedAt.IsZero() {
		r.fenced += time.Since(r.fencedAt)
		r.fencedAt = time.Time{}
	}
}

// undo gives the source back writable. It works with a session of its own, because the finalization's may be what broke.
// What it cannot do, the next attempt of Run does before anything else.
func (f *finalization) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	f.fence.Release(ctx)
	conn, err := f.live.source.Connect(ctx)
	if err == nil {
		defer closeConn(ctx, conn)
		err = f.fence.Lift(ctx, conn)
	}
	if err != nil {
		f.log.Error("making the source writable again", "error", err)
		f.warn("The source could not be made writable again yet; it is tried again: " + brief(err))
		f.live.stop(nil) // a new attempt begins with lifting the fence, and then stops the fence's clock
		return
	}
	f.unfenced()
}

// failed gives what Run learns of a failed finalization. Tables that were found different are copied again.
func (f *finalization) failed(ctx context.Context, err error) error {
	f.mu.Lock()
	for _, s := range f.tables {
		if s.deferred { // what was equal under the fence is no more: nothing carries its changes
			s.validation = NotValidated
		}
	}
	f.mu.Unlock()
	if len(distrust(err)) == 0 {
		return errNotFinalized
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	again := f.copyAgain(ctx, f.target, err)
	if errors.Is(again, errCopyAgain) || AsFailure(again) != nil {
		return again
	}
	f.log.Warn("recording that tables are to be copied again", "error", again) // they are compared again instead
	return errNotFinalized
}

func (f *finalization) raiseFence(ctx context.Context) error {
	warning, err := f.fence.ReadOnly(ctx, f.source)
	if err != nil {
		return err
	}
	if warning != "" {
		f.warn("Fence: " + warning)
	}
	if err := f.fence.CreateRefusal(ctx, f.source); err != nil {
		return err
	}
	names, err := catalog.Parents(ctx, f.source)
	if err != nil {
		return err
	}
	for _, t := range f.live.tables {
		names = append(names, t.SQLName())
	}
	return f.fence.Lock(ctx, f.source, names, f.engine.Settings.FenceWait)
}

const drainPoll = 20 * time.Millisecond

// errInterrupted says that the stream ended by itself while the finalization needed it.
var errInterrupted = &Failure{
	Code:    CodeDatabase,
	Message: "The replication was interrupted during the finalization",
	Hint:    "Run 'cf pg-migrate create-finalization' again when the replication is IN-SYNC.",
}

// drain writes a marker behind everything that was written before the fence, and waits until it comes out at the target.
func (f *finalization) drain(ctx context.Context) error {
	source := capture.Source{ID: f.migration.ID, Conn: f.source}
	before := f.live.apply.LastBeat()
	marker, err := source.Beat(ctx)
	if err != nil {
		return err
	}
	if marker <= before { // the stream is that of another server
		return sourceReplaced(fmt.Sprintf("it gave number %d to a heartbeat after the target had number %d", marker, before))
	}
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for f.live.apply.LastBeat() < marker {
		select {
		case <-ticker.C:
		case <-f.live.done:
			return errInterrupted
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// copyDeferred copies the tables that the stream does not carry. Under the fence the current state is the last one.
func (f *finalization) copyDeferred(ctx context.Context) error {
	if f.offline() {
		return f.copyAll(ctx)
	}
	f.mu.Lock()
	deferred := map[uint32]*tableState{}
	for oid, s := range f.tables {
		if s.deferred {
			deferred[oid] = s
		}
	}
	f.mu.Unlock()
	if len(deferred) == 0 {
		return nil
	}
	tables, err := catalog.Tables(ctx, f.source) // with the filenodes of now, when nobody can change them any more
	if err != nil {
		return err
	}
	for _, t := range tables {
		s := deferred[t.OID]
		if s == nil {
			continue
		}
		s.copied.Rows.Store(0)
		s.copied.Bytes.Store(0)
		err := pgx.BeginFunc(ctx, f.target, func(tx pgx.Tx) error {
			if _, err := snapshot.Table(ctx, f.source, tx, t, &s.copied); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "ANALYZE "+t.SQLName()); err != nil { // until now it was empty
				return fmt.Errorf("gathering statistics of table %s on the target: %w", t, err)
			}
			return f.ledger.CheckEpoch(ctx, tx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// verifyBefore compares, while writers still work, what has changed since it was last found equal, so that little is left to
// be compared under the fence. What keeps it from comparing does not keep the finalization from going on: the fence will.
func (f *finalization) verifyBefore(ctx context.Context) error {
	comparing, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-f.live.done:
			stop()
		case <-comparing.Done():
		}
	}()
	err := f.verifyOnline(comparing, f.live, (*tableState).changed)
	var difference *differenceError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &difference):
		f.live.stop(difference) // so that the tables are copied again
		<-f.live.done
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case comparing.Err() != nil:
		return errInterrupted
	}
	f.log.Warn("comparing before the fence", "error", err)
	f.warn("The tables could not be compared before the fence, and are compared under it: " + brief(err))
	return nil
}

// verify makes sure that every table has the same content on both sides: it compares those that may have changed since they
// were last found equal. The source is fenced and nothing is applied.
func (f *finalization) verify(ctx context.Context) error {
	// A source before 11 does not send TRUNCATE, so that nothing there is known not to have changed.
	all := f.engine.Settings.VerifyAll || catalog.Major(f.source) < 11
	var tables []catalog.Table
	f.mu.Lock()
	for _, t := range f.live.tables {
		s := f.tables[t.OID]
		if all || s.changed() {
			tables = append(tables, t)
			continue
		}
		f.verified = append(f.verified, verified(verify.Result{Table: t, Source: s.content, Target: s.content}, true))
	}
	f.mu.Unlock()
	return f.compare(ctx, comparison{
		sides:  sides(f.source, f.target),
		source: f.live.source.Connect,
		target: f.live.target.Connect,
		at:     f.live.flushed(),
		report: func(r verify.Result) { f.verified = append(f.verified, verified(r, false)) },
	}, tables)
}

func sides(source, target *pgx.Conn) verify.Sides {
	return verify.Sides{SourceMajor: catalog.Major(source), TargetMajor: catalog.Major(target)}
}

func verified(r verify.Result, online bool) TableVerification {
	state := Validated
	if !r.Equal() {
		state = Mismatched
	}
	return TableVerification{
		Schema: r.Table.Schema, Name: r.Table.Name, Validation: state, Online: online,
		SourceRows: r.Source.Rows, TargetRows: r.Target.Rows, SourceHash: r.Source.Hash, TargetHash: r.Target.Hash,
	}
}

// open makes the target ready in one transaction, whose commit is the point of no return. Just before it, triggers on the
// source take the locks' place, so that a writer that waited for a lock is refused and not let through.
func (f *finalization) open(ctx context.Context) error {
	var tx pgx.Tx
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() error { return f.fence.Arm(bothCtx) }) // which nobody sees yet
	both.Go(func() (err error) {
		tx, err = f.prepareOpening(bothCtx)
		return err
	})
	err := both.Wait()
	if tx != nil {
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // no effect after the commit
	}
	if err != nil {
		return err
	}
	if err := f.verifyLargeObjects(ctx); err != nil {
		return err
	}
	f.step(stepOpening)
	if err := f.ledger.SetStage(ctx, tx, ledger.StageOpened); err != nil {
		return err
	}
	if err := f.fence.Harden(ctx); err != nil {
		return err
	}
	f.reached("hardened")
	if err := tx.Commit(ctx); err != nil {
		return f.outcome(ctx, err)
	}
	return nil
}

// prepareOpening sets the sequences, and begins the transaction that opens the target.
func (f *finalization) prepareOpening(ctx context.Context) (pgx.Tx, error) {
	f.step(stepSequences)
	if err := f.setSequences(ctx); err != nil {
		return nil, err
	}
	f.step(stepConstraints)
	tx, err := f.target.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("beginning the opening of the target: %w", err)
	}
	return tx, f.finishSchema(ctx, tx)
}

// outcome finds out what became of a commit whose answer did not arrive.
func (f *finalization) outcome(ctx context.Context, commitErr error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	for {
		conn, err := f.live.target.Connect(ctx)
		if err == nil {
			progress, err := f.ledger.TakeOver(ctx, conn)
			closeConn(ctx, conn)
			switch {
			case err == nil && progress.Stage == ledger.StageOpened:
				return nil
			case err == nil:
				return fmt.Errorf("opening the target: %w", commitErr)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errUnknownOutcome, commitErr)
		case <-time.After(retryPause):
		}
	}
}

// sequencesPerBatch bounds the locks that a transaction takes.
const sequencesPerBatch = 500

// setSequences brings the sequences of the target to where the source's stand, and checks that they are there. It is called
// twice: before the fence, when writers may still move some, and under it, when only those are left. No transaction takes back
// what it sets, so that it needs not be the one of the opening.
func (f *finalization) setSequences(ctx context.Context) error {
	sequences, err := catalog.Sequences(ctx, f.source)
	if err != nil {
		return err
	}
	moved := slices.DeleteFunc(slices.Clone(sequences), func(s catalog.Sequence) bool { return f.positions[s] })
	for batch := range slices.Chunk(moved, sequencesPerBatch) {
		err := pgx.BeginFunc(ctx, f.target, func(tx pgx.Tx) error {
			if err := f.ledger.CheckEpoch(ctx, tx); err != nil {
				return err
			}
			if err := catalog.SetSequences(ctx, tx, batch); err != nil {
				return err
			}
			there := slices.Clone(batch)
			if err := catalog.ReadPositions(ctx, tx, there); err != nil {
				return err
			}
			for i, s := range batch {
				if there[i] != s {
					return &Failure{Code: CodeVerificationFailed, Message: "Sequence " + s.SQLName() + " of the target does not stand where the source's does", Hint: startAgain}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	f.positions = make(map[catalog.Sequence]bool, len(sequences))
	for _, s := range sequences {
		f.positions[s] = true
	}
	return nil
}

const populatedViewsSQL = `
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm'
  AND c.relispopulated
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
ORDER BY c.oid`

// finishSchema creates what would have acted on rows that are applied one by one: foreign keys, triggers, rules, policies.
// It also takes back what the replication needed, and fills the materialized views.
func (f *finalization) finishSchema(ctx context.Context, tx pgx.Tx) error {
	identities, err := catalog.AlwaysIdentities(ctx, f.source)
	if err != nil {
		return err
	}
	if err := catalog.SetAllGenerated(ctx, tx, identities, "ALWAYS"); err != nil {
		return err
	}
	// The dump saw the replica identities that the replication had set on the source.
	changed, err := capture.Source{ID: f.migration.ID, Conn: f.source}.Identities(ctx)
	if err != nil {
		return err
	}
	var restore strings.Builder
	for _, i := range changed {
		restore.WriteString(i.Statement() + ";\n")
	}
	if _, err := tx.Exec(ctx, restore.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("restoring replica identities on the target: %w", err)
	}
	entries, err := schema.Pending(ctx, tx, schema.Opening)
	if err != nil {
		return err
	}
	if err := schema.Create(ctx, tx, entries, nil); err != nil {
		return schemaFailure(ctx, err)
	}
	broken, err := schema.ReturnChecks(ctx, tx)
	if err != nil {
		return schemaFailure(ctx, err)
	}
	for _, err := range broken {
		f.warn("The " + err.Error())
	}
	return f.refreshViews(ctx, tx)
}

// refreshViews fills the materialized views that are filled on the source. One that reads another has to wait for it.
func (f *finalization) refreshViews(ctx context.Context, tx pgx.Tx) error {
	rows, err := f.source.Query(ctx, populatedViewsSQL)
	if err != nil {
		return fmt.Errorf("reading the list of materialized views: %w", err)
	}
	views, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var namespace, name string
		err := row.Scan(&namespace, &name)
		return pgx.Identifier{namespace, name}.Sanitize(), err
	})
	if err != nil {
		return fmt.Errorf("reading the list of materialized views: %w", err)
	}
	for len(views) > 0 {
		var waiting []string
		var last error
		for _, view := range views {
			err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
				// Without statistics the first queries would read it whole.
				_, err := savepoint.Exec(ctx, "REFRESH MATERIALIZED VIEW "+view+"; ANALYZE "+view, pgx.QueryExecModeSimpleProtocol)
				return err
			})
			if err != nil {
				waiting = append(waiting, view)
				last = fmt.Errorf("filling materialized view %s on the target: %w", view, err)
			}
		}
		if len(waiting) == len(views) {
			return last
		}
		views = waiting
	}
	return nil
}

// release takes away what the migration no longer needs once the target is the truth. Left until delete-replication are only
// the fence on the source, which keeps late writers from losing what they write there, and our schema with its records.
func (a *attempt) release(ctx context.Context, f *fence.Fence) error {
	f.Release(ctx)
	if err := f.Settle(ctx, a.source); err != nil {
		return err
	}
	if err := a.capture.DropSlot(ctx, a.from.ConnectReplication); err != nil {
		return err
	}
	if err := a.capture.Unpublish(ctx); err != nil {
		return err
	}
	a.reached("source released")
	return a.ledger.Drop(ctx, a.target)
}
