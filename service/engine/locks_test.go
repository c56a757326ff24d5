package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// holdRead opens a transaction on the source that has read a table.
func (p *pair) holdRead(t *testing.T, table string) (release func()) {
	t.Helper()
	tx, err := connect(t, p.source.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM `+table); err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }
}

// write changes a table for a while, and fails the test if the application had to wait long or was refused.
func (p *pair) write(t *testing.T, sql string, d time.Duration) {
	t.Helper()
	conn := connect(t, p.source.URL())
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		limited, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		_, err := conn.Exec(limited, sql)
		cancel()
		if err != nil {
			t.Fatalf("the application cannot write: %v", err)
		}
	}
}

// Trap 13: a table gets its replica identity before it is published and gives it back afterwards, or the application's UPDATE
// would fail. Trap 14: the lock for that is waited for in short tries, because everybody queues behind it.
func TestAReaderDelaysTheReplicaIdentityAndNobodyElse(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE keyless (n int); INSERT INTO keyless VALUES (0); CREATE TABLE b (id int PRIMARY KEY)`)
	before := p.sourceState(t)
	const update = `UPDATE keyless SET n = n + 1`
	release := p.holdRead(t, "keyless")
	r := p.run(t)
	p.write(t, update, 5*time.Second)
	if identity := query(t, p.source, `SELECT relreplident::text FROM pg_class WHERE relname = 'keyless'`); identity != "d" {
		t.Errorf("the replica identity is %s already", identity)
	}
	release()
	r.waitInSync(t)
	r.stop()
	_ = r.ended(t)

	release = p.holdRead(t, "keyless")
	p.migration.Epoch++
	removed := make(chan error, 1)
	go func() { removed <- p.engine.Remove(context.WithoutCancel(t.Context()), p.migration, true) }()
	p.write(t, update, 5*time.Second)
	release()
	select {
	case err := <-removed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the replica identity is not given back")
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
}

// fillLockTable takes locks until the server has room for so many only.
func fillLockTable(t *testing.T, l postgres.Login, room int) (release func()) {
	t.Helper()
	conn := connect(t, l.URL())
	_, err := conn.Exec(t.Context(), fmt.Sprintf(`
		DO $$
		BEGIN
			FOR i IN 1..100000 LOOP
				PERFORM pg_advisory_lock(i);
			END LOOP;
		EXCEPTION WHEN out_of_memory THEN
		END $$;
		SELECT pg_advisory_unlock(i) FROM generate_series(1, %d) AS i`, room), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_unlock_all()`); err != nil {
			t.Error(err)
		}
	}
}

// A lock table that is too small stays so until the server is started anew, so that nobody waits for it; others may fill one
// for a moment.
func TestAFullLockTableIsNamed(t *testing.T) {
	t.Parallel()
	p, _, _ := startServers(t, postgres.Options{Settings: map[string]string{
		"max_locks_per_transaction": "10", "max_connections": "30", "max_wal_senders": "5", "max_prepared_transactions": "0",
	}})
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY);
		DO $$ BEGIN FOR i IN 1..80 LOOP EXECUTE format('CREATE TABLE t%s ()', i); END LOOP; END $$`)
	wants := func(err error, side, message string) {
		t.Helper()
		wantFailure(t, err, failure.LockTableFull, "The "+side+" has no room for more locks: "+message)
		if f := failure.Of(err); f != nil && !strings.Contains(f.Hint, "max_locks_per_transaction of the "+side) {
			t.Errorf("the hint is %q", f.Hint)
		}
	}
	r := p.run(t)
	r.waitVerified(t)                         // which holds locks meanwhile
	release := fillLockTable(t, p.source, 40) // for a moment all of it, which may end an attempt
	wants(r.Finalize(t.Context(), never), "source", "dumping the schema of the source: pg_dump cannot lock all tables")
	release()
	r.stop()
	_ = r.ended(t)
	for _, full := range []struct {
		side   string
		login  postgres.Login
		change string // what makes us need a lock; on the source the heartbeat does
	}{
		{"target", p.target, `INSERT INTO a SELECT count(*) FROM a`},
		{"source", p.source, ``},
	} {
		application := connect(t, p.source.URL())
		p.migration.Epoch++
		if err := p.engine.Remove(t.Context(), p.migration, true); err != nil { // what has FAILED does not go on
			t.Fatal(err)
		}
		p.migration.ID = fmt.Sprintf("%08x", rand.Uint32())
		r := p.run(t)
		r.waitInSync(t)
		fill := func() (release func()) {
			release = fillLockTable(t, full.login, 0)
			if _, err := application.Exec(t.Context(), full.change); err != nil {
				t.Fatal(err)
			}
			return release
		}
		release := fill()
		r.waitFor(t, "another attempt", func(p progress.Progress) bool {
			return slices.ContainsFunc(p.Warnings, func(w string) bool { return strings.Contains(w, "out of shared memory") })
		})
		release()
		r.waitInSync(t)
		release = fill()
		wants(r.ended(t), full.side, "")
		release()
	}
	p.migration.Epoch++
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
}

// Trap 12: a table that is copied is not locked any more while others still are, so that the application can alter it.
func TestACopiedTableIsNotLocked(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.engine.Settings.CopyWorkers = 1
	execute(t, p.source, `CREATE TABLE held (id int PRIMARY KEY); INSERT INTO held VALUES (1);
		CREATE TABLE large (id int PRIMARY KEY); INSERT INTO large SELECT generate_series(1, 10000)`)
	r := p.run(t)
	tx, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hold(t, tx) // the smaller table, which comes last
	r.waitFor(t, "one table is copied and the other one is not", func(p progress.Progress) bool {
		return len(p.Tables) == 2 && p.Tables[0].Phase == progress.TableCopying && p.Tables[1].RowsCopied == 10000 && p.Tables[1].Phase != progress.TableCopying
	})
	err = pgx.BeginFunc(t.Context(), connect(t, p.source.URL()), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `SET LOCAL lock_timeout = '1s'; LOCK TABLE large IN ACCESS EXCLUSIVE MODE`, pgx.QueryExecModeSimpleProtocol)
		return err
	})
	if err != nil {
		t.Errorf("the copied table cannot be locked: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitInSync(t)
}

// Trap 12: nor is a table that is verified, so that the application can alter it, and the apply can empty it, while others are
// verified.
func TestAVerifiedTableIsNotLocked(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.engine.Settings.CopyWorkers = 1
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1); CREATE TABLE held (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitVerified(t)
	tx, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hold(t, tx) // the table that is verified last
	r = p.restart(t, r)
	r.waitFor(t, "one table is verified and the other one is not", func(progress.Progress) bool {
		return r.verification("a") == progress.Verified && r.verification("held") == progress.VerificationPending
	})
	execute(t, p.source, `SET lock_timeout = '1s'; TRUNCATE a`)
	r.waitFor(t, "the table is empty", func(progress.Progress) bool {
		return query(t, p.target, `SELECT count(*)::text FROM a`) == "0"
	})
	if v := r.verification("held"); v != progress.VerificationPending {
		t.Errorf("the table that holds up the verification is %s", v)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitVerified(t)
}
