package migration_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/logbook"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

const (
	major    = 15
	token    = "the.owner's.token"
	password = "hunter2-the-password"
	// A worker that dies is replaced within this time; everything else is much faster.
	takeover = 30 * time.Second
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

var names = cloudfoundry.Names{Org: "acme", Space: "dev", SourceInstance: "db-old", SourceKey: "k1", TargetInstance: "db-new", TargetKey: "k2"}

func accessOf(source, target string) cloudfoundry.Access {
	database := database.Database{Host: "h", Port: 1, Name: "d", User: "u", Password: password}
	return cloudfoundry.Access{SourceGUID: source, TargetGUID: target, Source: database, Target: database}
}

// house is the service on a database of its own, with a scripted engine.
type house struct {
	*migration.Service
	t      *testing.T
	store  *state.Store
	engine *scripted
	access *accesses
	log    *logbook.Book
}

func newHouse(t *testing.T) *house {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	sealer, err := state.NewSealer(base64.StdEncoding.EncodeToString(key))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), postgres.ForTest(t, major).NewDatabase(t, false).URL(), sealer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	h := &house{
		t: t, store: store, engine: newScripted(), log: &logbook.Book{},
		access: &accesses{byToken: map[string]cloudfoundry.Access{token: accessOf("source", "target")}},
	}
	h.Service = migration.NewService(h.access, h.engine, store, h.jobs("api"), h.log.Logger())
	return h
}

func (h *house) jobs(instance string) *migration.Jobs {
	h.t.Helper()
	jobs, err := migration.NewJobs(h.store, h.engine, 10, instance, h.log.Logger())
	if err != nil {
		h.t.Fatal(err)
	}
	return jobs
}

// work starts an instance that works, and gives what stops it.
func (h *house) work(instance string) (stop func()) {
	h.t.Helper()
	jobs := h.jobs(instance)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- jobs.Run(ctx, 5*time.Second) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// receive waits for what the engine is asked.
func receive[T any](t *testing.T, from <-chan T, within time.Duration) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(within):
		t.Fatalf("nothing within %s", within)
		panic("unreachable")
	}
}

func (h *house) eventually(what string, within time.Duration, happened func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(within)
	for !happened() {
		if time.Now().After(deadline) {
			h.t.Fatalf("not within %s: %s\n%s", within, what, h.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

const soon = 10 * time.Second

func (h *house) replicationIs(status migration.Status) {
	h.t.Helper()
	h.eventually("replication is "+string(status), soon, func() bool {
		r, err := h.Replication(h.t.Context(), token, names)
		return err == nil && r.Status == status
	})
}

func (h *house) finalizationIs(status migration.Status) {
	h.t.Helper()
	h.eventually("finalization is "+string(status), soon, func() bool {
		f, err := h.Finalization(h.t.Context(), token, names)
		return err == nil && f.Status == status
	})
}

func isMissing(err error) bool {
	var none *migration.NotFoundError
	return errors.As(err, &none)
}

func isConflict(err error) bool {
	var conflict *migration.ConflictError
	return errors.As(err, &conflict)
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.store.Pool().Exec(h.t.Context(), sql, args...); err != nil {
		h.t.Fatal(err)
	}
}

// begin creates a replication and gives its run.
func (h *house) begin() *run {
	h.t.Helper()
	h.must(h.CreateReplication(h.t.Context(), token, names))
	return receive(h.t, h.engine.runs, soon)
}

func (h *house) finalize(r *run) *finalization {
	h.t.Helper()
	r.inSync()
	h.replicationIs(migration.InSync)
	h.must(h.CreateFinalization(h.t.Context(), token, names))
	return receive(h.t, r.finalizations, soon)
}

func TestAWholeMigration(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := t.Context()
	h.must(h.CreateReplication(ctx, token, names))
	h.replicationIs(migration.Waiting) // nobody works yet
	h.work("a")
	r := receive(t, h.engine.runs, soon)
	if r.migration.Epoch != 1 || len(r.migration.ID) != 8 || strings.Trim(r.migration.ID, "0123456789abcdef") != "" || r.migration.Opened {
		t.Errorf("%+v", r.migration)
	}
	source, _, err := r.migration.Databases(ctx)
	if err != nil || source.Password != password {
		t.Errorf("the engine gets no credentials: %v", err)
	}
	r.set(func(p *progress.Progress) { p.BytesCopied = 7 })
	h.replicationIs(migration.Running)
	h.eventually("the progress is shown", soon, func() bool {
		shown, err := h.Replication(ctx, token, names)
		return err == nil && shown.Progress != nil && shown.Progress.BytesCopied == 7 && shown.StartedAt != nil && shown.FinishedAt == nil
	})
	if err := h.CreateFinalization(ctx, token, names); !isConflict(err) || !strings.Contains(err.Error(), "RUNNING") {
		t.Errorf("finalization before IN-SYNC: %v", err)
	}
	f := h.finalize(r)
	h.finalizationIs(migration.Running)
	h.must(f.opened(ctx))
	if err := h.DeleteFinalization(ctx, token, names); !isConflict(err) || !strings.Contains(err.Error(), "cannot be undone") {
		t.Errorf("undoing the opening: %v", err)
	}
	r.mu.Lock()
	r.steps.FencedSeconds = 3
	r.mu.Unlock()
	f.answer <- nil
	r.end <- nil
	h.finalizationIs(migration.Completed)
	h.replicationIs(migration.Completed)
	if shown, err := h.Finalization(ctx, token, names); err != nil || shown.Progress.FencedSeconds != 3 || shown.FinishedAt == nil {
		t.Errorf("%+v, %v", shown, err)
	}
	h.eventually("the credentials are forgotten", soon, func() bool {
		_, err := h.store.Credentials(ctx, r.migration.ID)
		return errors.Is(err, state.ErrNotFound)
	})
	for what, err := range map[string]error{
		"another replication":    h.CreateReplication(ctx, token, names),
		"another finalization":   h.CreateFinalization(ctx, token, names),
		"deleting what is final": h.DeleteFinalization(ctx, token, names),
	} {
		if !isConflict(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// None of these calls brings the credentials back.
	if _, err := h.store.Credentials(ctx, r.migration.ID); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the credentials of a completed migration are stored again: %v", err)
	}

	h.must(h.DeleteReplication(ctx, token, names, false))
	removed := receive(t, h.engine.removals, soon)
	if !removed.migration.Opened || removed.cleanTarget || removed.migration.Epoch < 2 {
		t.Errorf("%+v", removed)
	}
	if _, _, err := removed.migration.Databases(ctx); err != nil {
		t.Errorf("no credentials for the removal: %v", err)
	}
	removed.answer <- nil
	h.eventually("it is gone", soon, func() bool {
		_, err := h.Replication(ctx, token, names)
		return isMissing(err)
	})
	if _, err := h.Finalization(ctx, token, names); !isMissing(err) {
		t.Errorf("its finalization: %v", err)
	}
	if strings.Contains(h.log.String(), password) || strings.Contains(h.log.String(), token) {
		t.Error("the log holds a secret")
	}
	// And the next one can begin.
	next := h.begin()
	if next.migration.ID == r.migration.ID {
		t.Error("an ID is used twice")
	}
	if len(r.finalizations) > 0 {
		t.Error("the finalization was begun twice")
	}
}

// Trap 55: what is finished is not begun again.
func TestAFinalizationThatSucceededIsNotBegunAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	f := h.finalize(r)
	h.must(f.opened(t.Context()))
	f.answer <- nil
	// Run takes its time to end, and the replication still says that it is in sync.
	select {
	case <-r.finalizations:
		t.Error("begun again")
	case <-time.After(2 * time.Second):
	}
	r.end <- nil
	h.finalizationIs(migration.Completed)
}

func TestAFailedFinalizationCanBeTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	f := h.finalize(r)
	// A failure may have been caused by something that was cancelled; nobody cancelled the finalization.
	f.answer <- &failure.Failure{Code: failure.FenceRefused, Message: "a session holds a table", Hint: "end it", Err: context.Canceled}
	h.finalizationIs(migration.Failed)
	shown, err := h.Finalization(t.Context(), token, names)
	if err != nil || shown.Failure == nil || *shown.Failure != (migration.Failure{Code: string(failure.FenceRefused), Message: "a session holds a table", Hint: "end it"}) {
		t.Errorf("%+v, %v", shown, err)
	}
	h.replicationIs(migration.InSync)
	h.must(h.CreateFinalization(t.Context(), token, names))
	if shown, err = h.Finalization(t.Context(), token, names); err != nil || shown.Failure != nil {
		t.Errorf("the new one shows the old failure: %+v, %v", shown, err)
	}
	f = receive(t, r.finalizations, soon)
	f.answer <- nil
	r.end <- nil
	h.replicationIs(migration.Completed)
}

func TestAFailedFinalizationCanBeDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	h.finalize(r).answer <- &failure.Failure{Code: failure.Timeout, Message: "too long"}
	h.finalizationIs(migration.Failed)
	h.must(h.DeleteFinalization(t.Context(), token, names))
	h.eventually("the finalization is gone", soon, func() bool {
		_, err := h.Finalization(t.Context(), token, names)
		return isMissing(err)
	})
	h.replicationIs(migration.InSync)
}

// The progress of 10,000 tables has MBs, and something in it changes all the time.
func TestALargeProgressIsStoredSeldom(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	h.finalize(r)
	r.set(func(p *progress.Progress) { p.Warnings = []string{strings.Repeat("x", 2<<20)} })
	r.mu.Lock()
	r.steps.Steps = []progress.Step{{Name: strings.Repeat("x", 2<<20)}}
	r.mu.Unlock()
	replication, finalization := map[int64]bool{}, map[float64]bool{}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		r.set(func(p *progress.Progress) { p.BytesCopied++ })
		r.mu.Lock()
		r.steps.FencedSeconds++
		r.mu.Unlock()
		shown, err := h.Replication(t.Context(), token, names)
		h.must(err)
		replication[shown.Progress.BytesCopied] = true
		if shown, err := h.Finalization(t.Context(), token, names); err == nil && shown.Progress != nil {
			finalization[shown.Progress.FencedSeconds] = true
		}
	}
	// What was there before, and once more: 4 s have to pass then.
	if len(replication) > 2 || len(finalization) > 2 {
		t.Errorf("stored %d and %d times in 3 s", len(replication), len(finalization))
	}
}

func TestACancelledFinalizationLeavesTheReplication(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	for range 2 {
		h.finalize(r)
		h.must(h.DeleteFinalization(t.Context(), token, names))
		h.eventually("the finalization is gone", soon, func() bool {
			_, err := h.Finalization(t.Context(), token, names)
			return isMissing(err)
		})
	}
	h.replicationIs(migration.InSync)
	if err := h.DeleteFinalization(t.Context(), token, names); !isMissing(err) {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func TestDeletingARunningReplicationStopsItFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	f := h.finalize(r)
	h.must(h.DeleteReplication(t.Context(), token, names, true))
	removed := receive(t, h.engine.removals, soon)
	select {
	case <-r.finished:
	default:
		t.Error("it is removed while it runs")
	}
	if !removed.cleanTarget || removed.migration.ID != r.migration.ID || removed.migration.Opened {
		t.Errorf("%+v", removed)
	}
	if err := h.CreateReplication(t.Context(), token, names); !isConflict(err) {
		t.Errorf("a new one before the old one is gone: %v", err)
	}
	if err := h.CreateFinalization(t.Context(), token, names); !isConflict(err) {
		t.Errorf("a finalization of what is being removed: %v", err)
	}
	removed.answer <- nil
	h.eventually("it is gone", soon, func() bool {
		_, err := h.Replication(t.Context(), token, names)
		return isMissing(err)
	})
	_ = f
}

// Trap 61: a removal that fails is tried again.
func TestARemovalIsTriedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	h.begin().end <- &failure.Failure{Code: failure.SlotLost, Message: "gone"}
	h.replicationIs(migration.Failed)
	h.must(h.DeleteReplication(t.Context(), token, names, false))
	receive(t, h.engine.removals, soon).answer <- errors.New("the source cannot be reached")
	h.eventually("the failure is shown", soon, func() bool {
		r, err := h.Replication(t.Context(), token, names)
		return err == nil && r.Status == migration.Failed && r.Failure.Code == "REMOVAL_FAILED" && strings.Contains(r.Failure.Message, "cannot be reached")
	})
	receive(t, h.engine.removals, takeover).answer <- nil
	h.eventually("it is gone", soon, func() bool {
		_, err := h.Replication(t.Context(), token, names)
		return isMissing(err)
	})
}

func TestFailuresOfTheEngine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want migration.Failure
	}{
		"known":   {fmt.Errorf("copying table t: %w", &failure.Failure{Code: "X", Message: "m", Hint: "h"}), migration.Failure{Code: "X", Message: "m", Hint: "h"}},
		"unknown": {errors.New("password=" + password), migration.Failure{Code: "INTERNAL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.work("a")
			h.begin().end <- c.err
			h.replicationIs(migration.Failed)
			shown, err := h.Replication(t.Context(), token, names)
			if err != nil || shown.Failure == nil || shown.Failure.Code != c.want.Code || shown.FinishedAt == nil {
				t.Fatalf("%+v, %v", shown, err)
			}
			if c.want.Message != "" && *shown.Failure != c.want || strings.Contains(fmt.Sprint(*shown.Failure), password) {
				t.Errorf("%+v", *shown.Failure)
			}
		})
	}
}

func TestAFailedReplicationFailsItsFinalization(t *testing.T) {
	t.Parallel()
	for range 3 { // the request comes at another moment of the worker's round each time
		h := newHouse(t)
		h.work("a")
		r := h.begin()
		r.inSync()
		h.replicationIs(migration.InSync)
		h.must(h.CreateFinalization(t.Context(), token, names))
		r.end <- &failure.Failure{Code: failure.SlotLost, Message: "gone"}
		h.replicationIs(migration.Failed)
		if f, err := h.Finalization(t.Context(), token, names); err != nil || f.Status != migration.Failed || f.Failure == nil {
			t.Errorf("%+v, %v", f, err)
		}
		h.must(h.DeleteFinalization(t.Context(), token, names))
		if _, err := h.Finalization(t.Context(), token, names); !isMissing(err) {
			t.Errorf("after its removal: %v", err)
		}
	}
}

// killed leaves the row as a worker leaves it that was killed some time ago.
const killed = `UPDATE migrations SET lease_owner = 'killed', lease_until = now() - interval '1 second', queued_at = now() - interval '1 minute'`

func TestAnotherWorkerTakesOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	h.work("b")
	first := h.begin()
	first.inSync()
	h.replicationIs(migration.InSync)
	h.exec(killed)
	second := receive(t, h.engine.runs, takeover)
	if second.migration.ID != first.migration.ID || second.migration.Epoch != first.migration.Epoch+1 {
		t.Errorf("%+v after %+v", second.migration, first.migration)
	}
	receive(t, first.finished, soon) // the first one sees that it has lost the lease
	if err := first.migrationSaves(h); err == nil {
		t.Error("the first one can still store")
	}
	second.inSync()
	h.replicationIs(migration.InSync)
}

// migrationSaves tries what a worker without a lease must not be able to do.
func (r *run) migrationSaves(h *house) error {
	lease, _, err := h.store.TakeLease(h.t.Context(), r.migration.ID, "late", time.Hour)
	if err != nil {
		return err
	}
	return lease.Release(h.t.Context())
}

func TestAFinalizationGoesOnAfterATakeover(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	h.work("b")
	first := h.begin()
	h.finalize(first)
	h.exec(killed)
	second := receive(t, h.engine.runs, takeover)
	second.inSync()
	f := receive(t, second.finalizations, soon)
	h.must(f.opened(t.Context()))
	h.exec(killed)
	third := receive(t, h.engine.runs, takeover)
	if !third.migration.Opened {
		t.Error("that the target was opened is forgotten")
	}
	third.end <- nil
	h.finalizationIs(migration.Completed)
	h.replicationIs(migration.Completed)
}

func TestAStoppedInstanceHandsOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	stop := h.work("a")
	first := h.begin()
	began := time.Now()
	stop()
	if took := time.Since(began); took > soon {
		t.Errorf("stopping took %s", took)
	}
	receive(t, first.finished, time.Second)
	if m, err := h.store.Get(t.Context(), first.migration.ID); err != nil || m.ReplicationStatus == string(migration.Failed) {
		t.Errorf("%+v, %v", m, err)
	}
	h.work("b")
	if second := receive(t, h.engine.runs, soon); second.migration.Epoch != 2 {
		t.Errorf("%+v", second.migration)
	}
}

func TestOfTwoCallersAtOnceOneSucceeds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	results := make(chan error)
	for range 5 {
		go func() { results <- h.CreateReplication(t.Context(), token, names) }()
	}
	accepted := 0
	for range 5 {
		switch err := <-results; {
		case err == nil:
			accepted++
		case !isConflict(err):
			t.Error(err)
		}
	}
	var jobs int
	h.must(h.store.Pool().QueryRow(t.Context(), `SELECT count(*) FROM river_job`).Scan(&jobs))
	if accepted != 1 || jobs != 1 {
		t.Errorf("%d accepted, %d jobs", accepted, jobs)
	}
}

func TestAnInstanceTakesPartInOneMigration(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(h.CreateReplication(t.Context(), token, names))
	for pair, free := range map[[2]string]bool{
		{"source", "other"}: false, {"other", "target"}: false, {"source", "source"}: false,
		{"target", "source"}: false, // back again while the way there is not over
		{"target", "other"}:  false, // a target is no source before it is complete
		{"other", "source"}:  false, // and the other way round
		{"other", "third"}:   true,
	} {
		h.access.set("someone's", accessOf(pair[0], pair[1]))
		if err := h.CreateReplication(t.Context(), "someone's", names); isConflict(err) == free || (free && err != nil) {
			t.Errorf("%v: %v", pair, err)
		}
	}
}

func TestNobodyElseLearnsOfAMigration(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := t.Context()
	ask := map[string]func(token string) error{
		"preflight check":     func(token string) error { _, err := h.PreflightCheck(ctx, token, names); return err },
		"create replication":  func(token string) error { return h.CreateReplication(ctx, token, names) },
		"replication":         func(token string) error { _, err := h.Replication(ctx, token, names); return err },
		"delete replication":  func(token string) error { return h.DeleteReplication(ctx, token, names, true) },
		"create finalization": func(token string) error { return h.CreateFinalization(ctx, token, names) },
		"finalization":        func(token string) error { _, err := h.Finalization(ctx, token, names); return err },
		"delete finalization": func(token string) error { return h.DeleteFinalization(ctx, token, names) },
	}
	h.must(h.CreateReplication(ctx, token, names))
	for what, do := range ask {
		if err := do("stranger's"); !errors.Is(err, errNoAccess) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The names are not enough: who has other instances of the same names finds nothing.
	h.access.set("namesake's", accessOf("source of another space", "target of another space"))
	for _, what := range []string{"replication", "delete replication", "create finalization", "finalization", "delete finalization"} {
		if err := ask[what]("namesake's"); !isMissing(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Trap 63: the credentials of a running migration are those of the newest request.
func TestFreshCredentialsReachTheEngine(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	rotated := accessOf("source", "target")
	rotated.Target.Password = "new " + password
	h.access.set(token, rotated)
	if _, err := h.Replication(t.Context(), token, names); err != nil {
		t.Fatal(err)
	}
	if source, target, err := r.migration.Databases(t.Context()); err != nil || source.Password != password || target.Password != "new "+password {
		t.Errorf("%v", err)
	}
}

func TestPreflightChecks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	h.engine.preflight = func(ctx context.Context) (preflight.Report, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a preflight check may last for ever")
		}
		inside <- struct{}{}
		<-leave
		return preflight.Report{Findings: []preflight.Finding{{ID: "S1"}}}, nil
	}
	results := make(chan error, 10)
	check := func() {
		report, err := h.PreflightCheck(t.Context(), token, names)
		if err == nil && len(report.Findings) != 1 {
			err = errors.New("another report")
		}
		results <- err
	}
	for range 4 {
		go check()
		<-inside
	}
	check()
	var busy *migration.BusyError
	if err := <-results; !errors.As(err, &busy) {
		t.Errorf("one more than allowed: %v", err)
	}
	close(leave)
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// What may follow what, with no worker at hand: a row in each state, and every request to it.
func TestWhatMayFollowWhat(t *testing.T) {
	t.Parallel()
	const (
		accepted = "accepted"
		conflict = "conflict"
		missing  = "missing"
	)
	outcome := func(err error) string {
		switch {
		case err == nil:
			return accepted
		case isConflict(err):
			return conflict
		case isMissing(err):
			return missing
		}
		return err.Error()
	}
	h := newHouse(t)
	ctx := t.Context()
	requests := []func() error{
		func() error { return h.CreateReplication(ctx, token, names) },
		func() error { return h.CreateFinalization(ctx, token, names) },
		func() error { return h.DeleteFinalization(ctx, token, names) },
		func() error { return h.DeleteReplication(ctx, token, names, false) },
	}
	for _, c := range []struct {
		replication, finalization   string
		opened, removal, cancelled  bool
		create, finalize, undo, end string
	}{
		{create: accepted, finalize: missing, undo: missing, end: missing},
		{replication: "WAITING", create: conflict, finalize: conflict, undo: missing, end: accepted},
		{replication: "RUNNING", create: conflict, finalize: conflict, undo: missing, end: accepted},
		{replication: "IN-SYNC", create: conflict, finalize: accepted, undo: missing, end: accepted},
		{replication: "FAILED", create: conflict, finalize: conflict, undo: missing, end: accepted},
		{replication: "COMPLETED", finalization: "COMPLETED", opened: true, create: conflict, finalize: conflict, undo: conflict, end: accepted},
		{replication: "IN-SYNC", finalization: "WAITING", create: conflict, finalize: conflict, undo: accepted, end: accepted},
		{replication: "IN-SYNC", finalization: "RUNNING", create: conflict, finalize: conflict, undo: accepted, end: accepted},
		{replication: "IN-SYNC", finalization: "RUNNING", cancelled: true, create: conflict, finalize: conflict, undo: accepted, end: accepted},
		{replication: "IN-SYNC", finalization: "RUNNING", opened: true, create: conflict, finalize: conflict, undo: conflict, end: accepted},
		{replication: "IN-SYNC", finalization: "FAILED", create: conflict, finalize: accepted, undo: accepted, end: accepted},
		{replication: "RUNNING", finalization: "FAILED", create: conflict, finalize: conflict, undo: accepted, end: accepted},
		{replication: "FAILED", finalization: "FAILED", create: conflict, finalize: conflict, undo: accepted, end: accepted},
		{replication: "IN-SYNC", removal: true, create: conflict, finalize: conflict, undo: missing, end: accepted},
		{replication: "FAILED", removal: true, create: conflict, finalize: conflict, undo: missing, end: accepted},
	} {
		for i, want := range []string{c.create, c.finalize, c.undo, c.end} {
			h.exec(`DELETE FROM migrations`)
			if c.replication != "" {
				h.must(h.CreateReplication(ctx, token, names))
				h.exec(`UPDATE migrations SET replication_status = $1, finalization_status = nullif($2, ''), opened = $3, removal_requested = $4, finalization_cancelled = $5`,
					c.replication, c.finalization, c.opened, c.removal, c.cancelled)
			}
			if got := outcome(requests[i]()); got != want {
				t.Errorf("%+v: request %d is %s", c, i, got)
			}
		}
	}
}
