package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// waitFor waits until the condition holds.
func (r *running) waitFor(t *testing.T, what string, holds func(progress.Progress) bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds(r.Progress()) {
		select {
		case err := <-r.result:
			r.result <- err
			t.Fatalf("waiting until %s: the replication ended: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s: %+v", what, r.Progress())
		}
	}
}

// waitVerified waits until the online verification has found all tables equal.
func (r *running) waitVerified(t *testing.T) {
	t.Helper()
	r.waitFor(t, "all tables are verified", func(p progress.Progress) bool {
		return p.InSync && !slices.ContainsFunc(p.Tables, func(t progress.TableProgress) bool {
			return t.Phase != progress.TableDeferred && t.Verification != progress.Verified
		})
	})
}

// waitCopiedAgain waits until a table is not trusted. Other warnings may come: another test's transaction may be in the way.
func (r *running) waitCopiedAgain(t *testing.T) {
	t.Helper()
	r.waitFor(t, "a table is copied again", func(p progress.Progress) bool {
		return slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "the table is copied again") })
	})
}

// verification gives the state of one table.
func (r *running) verification(name string) progress.Verification {
	for _, t := range r.Progress().Tables {
		if t.Name == name {
			return t.Verification
		}
	}
	return ""
}

func (r *running) wantWarning(t *testing.T, texts ...string) {
	t.Helper()
	if !slices.ContainsFunc(r.Progress().Warnings, func(w string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(w, text) })
	}) {
		t.Errorf("no warning with %q: %q", texts, r.Progress().Warnings)
	}
}

// restart stops the worker and lets another one take over, for which nothing is verified.
func (p *pair) restart(t *testing.T, r *running) *running {
	t.Helper()
	r.stop()
	if err := r.ended(t); !errors.Is(err, context.Canceled) {
		t.Fatalf("worker %d ended with %v", p.migration.Epoch, err)
	}
	p.migration.Epoch++
	return p.run(t)
}

// stalls collects how long the apply stood for each online verification.
type stalls struct {
	slog.Handler
	mu   sync.Mutex
	list []string
}

func (s *stalls) Handle(ctx context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "stall" {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.list = append(s.list, a.Value.String())
		}
		return true
	})
	return s.Handler.Handle(ctx, record)
}

func (s *stalls) WithAttrs(a []slog.Attr) slog.Handler {
	s.Handler = s.Handler.WithAttrs(a)
	return s
}

// Trap 56: both sides are verified as of the same position, or rows that are only under way would look different.
func TestOnlineVerificationFindsNoDifferenceWhileWritersWork(t *testing.T) {
	t.Parallel()
	const rows = 3000
	p := newPair(t)
	s := &stalls{Handler: p.engine.Log.Handler()}
	p.engine.Log = slog.New(s)
	execute(t, p.source, shop(rows))
	write := writeShop(rows)
	w := p.startWriters(t, 8, func(ctx context.Context, conn *pgx.Conn, random *rand.Rand) error {
		time.Sleep(5 * time.Millisecond) // the machine has to be in sync some time
		return write(ctx, conn, random)
	})
	r := p.run(t)
	for round := range 5 {
		if round > 0 {
			r = p.restart(t, r)
		}
		r.waitVerified(t)
		for _, warning := range r.Progress().Warnings {
			if !strings.Contains(warning, "could not be verified yet") { // another test's transaction was in the way
				t.Errorf("round %d: %s", round, warning)
			}
		}
	}
	w.stop(t)
	r.finalize(t)
	t.Logf("%d transactions written; the apply stood for %v", w.done, s.list)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	execute(t, p.source, `REFRESH MATERIALIZED VIEW sales.per_state_view; REFRESH MATERIALIZED VIEW sales.busy_view`)
	p.checkEqual(t)
}

const twoTables = `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT i, 'v' || i FROM generate_series(1, 1000) AS i;
	CREATE TABLE b (id int REFERENCES a); INSERT INTO b SELECT id FROM a`

func TestADifferenceFoundOnlineIsCopiedAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, twoTables)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.target, `UPDATE a SET v = 'V500' WHERE id = 500; DELETE FROM a WHERE id = 7; INSERT INTO a VALUES (4711, 'surplus')`)
	r = p.restart(t, r)
	r.waitCopiedAgain(t)
	r.wantWarning(t, "public.a (1000 rows on the source, 1000 on the target; by key id, different: 500; only on the source: 7; only on the target: 4711)")
	r.waitVerified(t)
	execute(t, p.source, `UPDATE a SET v = v || '!' WHERE id % 10 = 0; INSERT INTO b VALUES (1)`)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

func TestAChangeThatMissesItsRowCopiesTheTableAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ tamper, change, why string }{
		"update": {`DELETE FROM a WHERE id = 500`, `UPDATE a SET v = 'new' WHERE id = 500`, "UPDATE on table public.a found 0 rows"},
		"delete": {`DELETE FROM a WHERE id = 500`, `DELETE FROM b WHERE id = 500; DELETE FROM a WHERE id = 500`, "DELETE on table public.a found 0 rows"},
		"insert": {`INSERT INTO a VALUES (2000, 'theirs')`, `INSERT INTO a VALUES (2000, 'ours')`, "INSERT on table public.a found a row"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			execute(t, p.source, twoTables)
			r := p.run(t)
			r.waitVerified(t)
			execute(t, p.target, c.tamper)
			execute(t, p.source, c.change+`; INSERT INTO b VALUES (1)`)
			r.waitCopiedAgain(t)
			r.wantWarning(t, "copied again", c.why)
			r.waitVerified(t)
			// The same once more: the table is not trusted any more.
			execute(t, p.target, `DELETE FROM a WHERE id = 600`)
			execute(t, p.source, `UPDATE a SET v = 'new' WHERE id = 600`)
			wantFailure(t, r.ended(t), failure.Divergence, "UPDATE on table public.a found 0 rows")
		})
	}
}

func TestAFinalizationVerifiesBeforeTheFence(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, twoTables)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.target, `UPDATE a SET v = 'V500' WHERE id = 500`)
	execute(t, p.source, `UPDATE a SET v = 'new' WHERE id = 1`)
	r.waitFor(t, "the change is applied", func(progress.Progress) bool { return query(t, p.target, `SELECT v FROM a WHERE id = 1`) == "new" })
	wantFailure(t, r.Finalize(t.Context(), never), failure.VerificationFailed, "different: 500")
	if progress := r.FinalizationProgress(); progress.FencedSeconds != 0 {
		t.Errorf("a difference that was found before the fence shut writers out for %.2f s", progress.FencedSeconds)
	}
	r.waitVerified(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// Trap 60: every row is verified, not some of them and not their number.
func TestADifferenceUnderTheFence(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.engine.Settings.VerifyAll = true
	execute(t, p.source, twoTables)
	before := p.sourceState(t)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.target, `UPDATE a SET v = 'V500' WHERE id = 500`)
	wantFailure(t, r.Finalize(t.Context(), never), failure.VerificationFailed, "different: 500")
	for _, v := range r.FinalizationProgress().Verification {
		if want := map[string]progress.Verification{"a": progress.Mismatched, "b": progress.Verified}[v.Name]; v.State != want {
			t.Errorf("table %s is %s, want %s", v.Name, v.State, want)
		}
	}
	// The source is writable, the table is copied again, and another finalization succeeds.
	execute(t, p.source, `INSERT INTO a VALUES (1001, 'after the failure')`)
	r.waitVerified(t)
	if v := query(t, p.target, `SELECT v FROM a WHERE id = 500`); v != "v500" {
		t.Errorf("the row was not copied again: %s", v)
	}
	if constraints := query(t, p.target, `SELECT count(*)::text FROM pg_constraint WHERE contype = 'f'`); constraints != "0" {
		t.Errorf("the failed finalization left %s foreign keys on the target", constraints)
	}
	// A second difference of the same table ends the replication; the source stays usable.
	execute(t, p.target, `DELETE FROM a WHERE id = 600`)
	wantFailure(t, r.Finalize(t.Context(), never), failure.VerificationFailed, "only on the source: 600")
	wantFailure(t, r.ended(t), failure.Divergence, "only on the source: 600")
	execute(t, p.source, `INSERT INTO a VALUES (1002, 'after the second failure')`)
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
}

func TestOnlyChangedTablesAreVerifiedUnderTheFence(t *testing.T) {
	t.Parallel()
	for name, all := range map[string]bool{"changed": false, "all": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.engine.Settings.VerifyAll = all
			execute(t, p.source, twoTables+`; CREATE UNLOGGED TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (1)`)
			r := p.run(t)
			r.waitVerified(t)
			execute(t, p.source, `UPDATE a SET v = 'late' WHERE id = 1`)
			// Nothing can be verified before the fence as long as this transaction runs; it keeps nobody from locking a table.
			release := holdTransaction(t)
			r.finalize(t)
			release()
			for _, v := range r.FinalizationProgress().Verification {
				if want := v.Name == "b" && !all; v.Online != want {
					t.Errorf("table %s: verified online is %v, want %v", v.Name, v.Online, want)
				}
				if rows := map[string]int64{"a": 1000, "b": 1000, "c": 1}[v.Name]; v.SourceRows != rows || v.TargetRows != rows || v.SourceHash != v.TargetHash || v.SourceHash == "" {
					t.Errorf("the report says %+v", v)
				}
			}
			if n := len(r.FinalizationProgress().Verification); n != 3 {
				t.Errorf("the report lists %d tables of 3", n)
			}
		})
	}
}

// holdTransaction begins a write transaction on the source's server, in another database, that holds no table.
func holdTransaction(t *testing.T) (release func()) {
	t.Helper()
	tx, err := connect(t, postgres.ForTest(t, sourceMajor).URL("postgres")).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT txid_current()`); err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }
}

func TestALongTransactionDoesNotHoldUpTheApply(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, twoTables)
	r := p.run(t)
	r.waitVerified(t)
	release := holdTransaction(t)
	r = p.restart(t, r)
	r.waitInSync(t)
	writer, reader := connect(t, p.source.URL()), connect(t, p.target.URL())
	longest := time.Duration(0)
	for id, end := 2000, time.Now().Add(6*time.Second); time.Now().Before(end); id++ { // longer than an attempt to verify takes
		if _, err := writer.Exec(t.Context(), `INSERT INTO a VALUES ($1, 'x')`, id); err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		for there := false; !there; {
			if err := reader.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM a WHERE id = $1)`, id).Scan(&there); err != nil {
				t.Fatal(err)
			}
		}
		longest = max(longest, time.Since(written))
	}
	if longest > time.Second {
		t.Errorf("a change took %v to arrive", longest)
	}
	if v := r.verification("a"); v != progress.NotVerified {
		t.Errorf("table a is %s", v)
	}
	r.wantWarning(t, "could not be verified yet", "write transaction")
	release()
	r.waitVerified(t)
	t.Logf("the slowest change took %v", longest)
}

func TestAWorkerThatDiesWhileItVerifies(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, twoTables)
	r := p.run(t)
	r.waitVerified(t)
	// The verification waits for this lock, so that the worker surely dies in the middle of it.
	lock := connect(t, p.target.URL())
	tx, err := lock.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE a IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	r = p.restart(t, r)
	r.waitFor(t, "table a is being verified", func(progress.Progress) bool { return r.verification("a") == progress.VerificationPending })
	r.waitFor(t, "table b is verified", func(progress.Progress) bool { return r.verification("b") == progress.Verified })
	r.stop()
	if err := r.ended(t); !errors.Is(err, context.Canceled) {
		t.Errorf("the worker ended with %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.migration.Epoch++
	r = p.run(t)
	r.waitVerified(t)
	if slots := query(t, p.source, `SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database()`); slots != "1" {
		t.Errorf("there are %s slots on the source", slots)
	}
	execute(t, p.source, `INSERT INTO a VALUES (1001, 'after')`)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// Trap 54: a fence that cannot be lifted at once is lifted as soon as the source is back.
// The source counts as fenced until it is known to be writable again.
func TestAFenceThatCannotBeLiftedYetIsCounted(t *testing.T) {
	t.Parallel()
	p, source, _ := ownServers(t)
	p.engine.Settings.VerifyAll = true
	execute(t, p.source, twoTables)
	r := p.run(t)
	r.waitVerified(t)
	tx, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE a IN ACCESS EXCLUSIVE MODE`); err != nil { // the verification waits for it
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- r.Finalize(t.Context(), never) }()
	r.waitFor(t, "tables are verified under the fence", func(progress.Progress) bool {
		steps := r.FinalizationProgress().Steps
		return len(steps) > 0 && steps[len(steps)-1].Name == "verification" && r.verification("b") == progress.Verified
	})
	if err := source.Kill9(); err != nil {
		t.Fatal(err)
	}
	_ = tx.Rollback(t.Context())
	if err := <-result; err == nil {
		t.Error("the finalization gives no error")
	}
	before := r.FinalizationProgress().FencedSeconds
	time.Sleep(time.Second)
	if after := r.FinalizationProgress().FencedSeconds; after < before+0.9 {
		t.Errorf("the source is away, and its fence counts for %.2f s and a second later for %.2f s", before, after)
	}
	if err := source.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitVerified(t)
	execute(t, p.source, `INSERT INTO a VALUES (1001, 'after')`)
	before = r.FinalizationProgress().FencedSeconds
	time.Sleep(200 * time.Millisecond)
	if after := r.FinalizationProgress().FencedSeconds; after != before {
		t.Errorf("the fence of a writable source goes on being counted: %.2f s and later %.2f s", before, after)
	}
	r.finalize(t)
}

// Trap 66: a table that a verification finds different, while the stream stumbles over the same row, is to blame for one fault
// and not for two: the second would end the migration.
func TestOneFaultIsCountedOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a SELECT i, i FROM generate_series(1, 10) AS i; CREATE TABLE b (id int PRIMARY KEY, v int); INSERT INTO b SELECT i, i FROM generate_series(1, 10) AS i`)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.source, `UPDATE a SET v = 0 WHERE id = 1; UPDATE b SET v = 0 WHERE id = 1`)
	r.waitFor(t, "changes", func(progress.Progress) bool { return query(t, p.target, `SELECT v::text FROM b WHERE id = 1`) == "0" })
	execute(t, p.target, `DELETE FROM a WHERE id = 5`)
	lock, err := connect(t, p.target.URL()).Begin(t.Context()) // so that the verification takes long
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `LOCK TABLE b IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	finalized := make(chan error, 1)
	go func() { finalized <- r.Finalize(context.Background(), never) }()
	r.waitFor(t, "table a differs", func(progress.Progress) bool { return r.verification("a") == progress.Mismatched })
	execute(t, p.source, `UPDATE a SET v = 7 WHERE id = 5`) // whose row is not there
	if err := <-finalized; err == nil {
		t.Error("the finalization succeeded")
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitVerified(t)
	r.finalize(t)
}

// Trap 34: a TRUNCATE that a verification finds first, on a source that does not tell, is nobody's fault either.
func TestTruncatesThatAVerificationFinds(t *testing.T) {
	t.Parallel()
	p := newPairOf(t, 10, targetMajor)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a SELECT i, i FROM generate_series(1, 10) AS i`)
	r := p.run(t)
	for round := range 2 {
		r.waitVerified(t)
		row := fmt.Sprint(100 + round)
		execute(t, p.source, `TRUNCATE a; INSERT INTO a VALUES (`+row+`, 1)`)
		r.waitFor(t, "the row is there", func(progress.Progress) bool {
			return query(t, p.target, `SELECT count(*)::text FROM a WHERE id = `+row) == "1"
		})
		if err := r.Finalize(t.Context(), never); err == nil {
			t.Fatal("the finalization succeeded")
		}
	}
	r.waitVerified(t)
	r.finalize(t)
	r.wantWarning(t, "which PostgreSQL 10 does not tell")
}

// Trap 4: a later snapshot waits for write transactions, too.
// A table that is to be copied again needs a new snapshot, which may have to wait longer than anything else is waited for.
func TestCopyingAgainWaitsForALongTransaction(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.engine.Settings.SlotWait, p.engine.Settings.GiveUpAfter = time.Second, 500*time.Millisecond
	execute(t, p.source, twoTables)
	r := p.run(t)
	r.waitVerified(t)
	release := holdTransaction(t)
	execute(t, p.target, `DELETE FROM a WHERE id = 500`)
	execute(t, p.source, `UPDATE a SET v = 'new' WHERE id = 500`)
	r.waitFor(t, "another snapshot is tried again", func(p progress.Progress) bool {
		return slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "taking another snapshot") })
	})
	release()
	r.waitVerified(t)
	r.finalize(t)
}
