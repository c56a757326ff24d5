package stream_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

// statuses is longer than the source goes without hearing how far the target is.
const statuses = 11 * time.Second

// confirmed says whether the source may have let go of the WAL up to a position.
func (r *route) confirmed(t testing.TB, lsn string) (confirmed bool) {
	t.Helper()
	const sql = `SELECT confirmed_flush_lsn >= $2::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $1`
	if err := r.source.QueryRow(t.Context(), sql, capture.Slot(r.id), lsn).Scan(&confirmed); err != nil {
		t.Fatal(err)
	}
	return confirmed
}

// begin opens a transaction in a session of its own.
func begin(t testing.TB, url, sql string) pgx.Tx {
	t.Helper()
	tx, err := connect(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	return tx
}

// Trap 22: transactions come in the order of their commits, and the changes of one lie before and after those of others.
// Trap 23: what was applied before is sent again, because nothing is confirmed in so short a time.
func TestATransactionThatBeganFirstAndCommittedLast(t *testing.T) {
	t.Parallel()
	r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	long := begin(t, r.sourceURL, `INSERT INTO public.a VALUES (1)`)
	for round := range 3 {
		r.exec(t, r.source, `INSERT INTO a SELECT coalesce(max(id), 10) + 1 FROM a`)
		a := r.run(t)
		r.drain(t, a)
		if err := a.ended(t); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		r.checkEqual(t)
	}
	if err := long.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := r.run(t)
	r.drain(t, a)
	if err := a.ended(t); err != nil {
		t.Fatal(err)
	}
	r.checkEqual(t)
}

// Trap 24: the source may forget only what the target has committed, although its word that everything was sent comes earlier.
func TestNothingIsConfirmedBeforeTheTargetHasIt(t *testing.T) {
	t.Parallel()
	r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	a := r.run(t)
	r.drain(t, a)
	lock := begin(t, r.targetURL, `LOCK TABLE public.a IN ACCESS EXCLUSIVE MODE`)
	r.exec(t, r.source, `INSERT INTO a VALUES (1)`)
	committed := lines(t, r.source, `SELECT pg_current_wal_insert_lsn()::text`)
	time.Sleep(statuses)
	if r.confirmed(t, committed) {
		t.Error("the source was told that the target has a change that it has not")
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.drain(t, a)
	if err := a.ended(t); err != nil {
		t.Fatal(err)
	}
	r.checkEqual(t)
}

// Trap 24: while a backlog is applied the target's commits do not wait for its disk, and a crash takes back what is not there.
func TestACrashTakesBackNothingThatTheSourceForgot(t *testing.T) {
	t.Parallel()
	// Nobody but the commits writes to the disk.
	target := startCluster(t, map[string]string{"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"})
	const slow = `, CONSTRAINT slow CHECK (length(repeat(md5(id::text), 1000)) > 0)` // so that changes always wait
	r := newRouteTo(t, target.URL("postgres"), `CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE a (id int PRIMARY KEY`+slow+`)`)
	write := func(session *pgx.Conn) error {
		_, err := session.Exec(t.Context(), `
DO $$ BEGIN
	FOR i IN 1..10000 LOOP
		INSERT INTO public.a SELECT coalesce(max(id), 0) + 1 FROM public.a;
		COMMIT;
	END LOOP;
END $$`)
		return err
	}
	writer := connect(t, r.sourceURL)
	r.exec(t, writer, `SET synchronous_commit = off`)
	if err := write(writer); err != nil {
		t.Fatal(err)
	}
	a := r.run(t)
	var enough atomic.Bool
	var written errgroup.Group
	written.Go(func() error {
		for !enough.Load() {
			if err := write(writer); err != nil {
				return err
			}
		}
		return nil
	})
	t.Cleanup(func() { enough.Store(true); _ = written.Wait() })
	time.Sleep(1200 * time.Millisecond) // the source has heard of something
	deadline := time.Now().Add(patience)
	for transactions, flushed := a.Transactions(), a.Flushed(); a.Transactions() == transactions || a.Flushed() != flushed; time.Sleep(time.Millisecond) {
		if a.Flushed() != flushed { // a commit that was waited for
			transactions, flushed = a.Transactions(), a.Flushed()
		}
		if time.Now().After(deadline) {
			t.Fatal("every commit waits for the disk")
		}
	}
	if err := target.Kill9(); err != nil {
		t.Fatal(err)
	}
	if err := a.ended(t); err == nil {
		t.Error("the apply has not noticed")
	}
	enough.Store(true)
	if err := written.Wait(); err != nil {
		t.Error(err)
	}
	applied := a.Transactions()
	if err := target.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.target = connect(t, r.targetURL)
	r.exec(t, r.target, `ALTER TABLE a DROP CONSTRAINT slow`)
	left := lines(t, r.target, `SELECT count(*)::text FROM public.a`)
	t.Logf("the crash left %s transactions of %d", left, applied)
	if left == strconv.FormatInt(applied, 10) {
		t.Error("the crash has taken back nothing: this proves nothing")
	}
	a = r.run(t)
	r.drain(t, a)
	if err := a.ended(t); err != nil {
		t.Fatal(err)
	}
	r.checkEqual(t)
}

// Trap 36: a database that nobody writes to does not keep the WAL that others of its server make.
func TestAnIdleDatabaseKeepsNoWAL(t *testing.T) {
	t.Parallel()
	r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	a := r.run(t)
	r.drain(t, a)
	other := connect(t, postgres.ForTest(t, sourceMajor).NewDatabase(t, false).URL())
	r.exec(t, other, `CREATE TABLE noise AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)`)
	written := lines(t, other, `SELECT pg_current_wal_insert_lsn()::text`)
	for deadline := time.Now().Add(patience); !r.confirmed(t, written); time.Sleep(100 * time.Millisecond) {
		if _, err := r.capture.Beat(t.Context()); err != nil { // as the engine does
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the source still keeps what others have written")
		}
	}
	if err := a.ended(t); err != nil {
		t.Fatal(err)
	}
}

// Trap 35: a target that takes its time over a large transaction does not make the source cut the connection.
func TestATargetThatTakesLongerThanTheSourceWaits(t *testing.T) {
	t.Parallel()
	r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY, v text); ALTER TABLE a ALTER v SET STORAGE EXTERNAL`)
	r.exec(t, r.source, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET wal_sender_timeout = ''8s''', current_database()); END $$`)
	lock := begin(t, r.targetURL, `LOCK TABLE public.a IN ACCESS EXCLUSIVE MODE`)
	r.exec(t, r.source, `INSERT INTO a SELECT i, repeat('x', 100000) FROM generate_series(1, 1000) AS i`)
	a := r.run(t)
	time.Sleep(2 * statuses)
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.drain(t, a)
	if err := a.ended(t); err != nil {
		t.Fatal(err)
	}
	r.checkEqual(t)
}

// Trap 25: how far the target is changes with the rows or not at all. Trap 26: and only as long as no other worker took over.
func TestAnApplyThatWasOvertakenChangesNothing(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"another worker":  `UPDATE _pgmig.progress SET epoch = 2`,
		"another process": `UPDATE _pgmig.progress SET commit_lsn = 'FFFFFFFF/0'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY)`)
			a := r.run(t)
			r.drain(t, a)
			r.exec(t, r.target, sql)
			r.exec(t, r.source, `INSERT INTO a VALUES (1)`)
			select {
			case err := <-a.result:
				if !errors.Is(err, stream.ErrNotAdvanced) {
					t.Errorf("the apply ended with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("the apply goes on")
			}
			if rows := lines(t, r.target, `SELECT id::text FROM public.a`); rows != "" {
				t.Errorf("the target has the row %s", rows)
			}
		})
	}
}

// Trap 62: a slot that is read can be dropped, and no other one of a similar name.
func TestASlotInUseIsDropped(t *testing.T) {
	t.Parallel()
	r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	other := capture.Slot(r.id) + "0"
	if _, err := r.source.Exec(t.Context(), `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, other); err != nil {
		t.Fatal(err)
	}
	a := r.run(t)
	r.drain(t, a)
	admin := capture.Source{ID: r.id, Conn: connect(t, r.sourceURL)}
	if err := admin.DropSlot(t.Context(), r.dialReplication); err != nil {
		t.Fatal(err)
	}
	if err := a.ended(t); err == nil {
		t.Error("the apply has not noticed")
	}
	if left := lines(t, r.source, `SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`); left != other {
		t.Errorf("slots that are left: %s", left)
	}
}
