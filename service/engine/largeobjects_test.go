package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// manyObjects makes large objects of all kinds and a table that refers to them.
const manyObjects = `
CREATE TABLE document (id serial PRIMARY KEY, body oid);
CREATE TABLE b (id int PRIMARY KEY);
CREATE TRIGGER same BEFORE UPDATE ON b FOR EACH ROW EXECUTE PROCEDURE suppress_redundant_updates_trigger();
SELECT lo_create(100), lo_create(101), lo_create(102), lo_create(103), lo_create(104);
SELECT lo_put(101, 0, decode(repeat('00010203fffe5c27', 700000), 'hex'));
SELECT lo_put(102, 40000000, 'the end of a sparse object');
SELECT lo_truncate64(lo_open(103, 131072), 5000000);
SELECT lo_put(104, 0, decode(repeat('00', 1048576), 'hex')), lo_put(104, 1048576, '\x01');
SELECT lo_from_bytea(1000 + i, convert_to(repeat(md5(i::text), i % 40), 'UTF8')) FROM generate_series(1, 1200) AS i;
INSERT INTO document (body) VALUES (100), (101), (102), (103), (104)`

// objects is the oracle for large objects: every one with its size and the hash of its whole content.
func objects(t *testing.T, l postgres.Login) string {
	t.Helper()
	return query(t, l, `SELECT oid || ' ' || length(lo_get(oid)) || ' ' || md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid`)
}

func (p *pair) checkObjects(t *testing.T, count int) {
	t.Helper()
	source, target := objects(t, p.source), objects(t, p.target)
	if source != target {
		t.Errorf("the large objects differ:\n%s", diff(source, target))
	}
	if there := strings.Count(target, "\n") + 1; there != count {
		t.Errorf("%d large objects, want %d", there, count)
	}
}

func verifiedObjects(r *running) *progress.TableVerification {
	for _, v := range r.FinalizationProgress().Verification {
		if v.Name == "pg_largeobject" {
			return &v
		}
	}
	return nil
}

func TestLargeObjects(t *testing.T) {
	t.Parallel()
	oldest := func(t *testing.T) *pair {
		p := newPair(t)
		p.source = postgres.ForTest(t, 10).NewDatabase(t, true)
		return p
	}
	for name, newPair := range map[string]func(*testing.T) *pair{"logical": newPair, "offline": newOfflinePair, "from PostgreSQL 10": oldest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			execute(t, p.source, manyObjects)
			r := p.run(t)
			r.waitInSync(t)
			execute(t, p.source, `SELECT lo_put(101, 3000000, 'changed'), lo_unlink(1001), lo_from_bytea(5000, '\x00ff'), lo_truncate(lo_open(1039, 131072), 7)`)
			// Another object of the target stays as it is.
			execute(t, p.target, `SELECT lo_from_bytea(9999, 'mine')`)
			// The first try carries all and fails in the opening; the second carries what has changed since.
			execute(t, p.target, `CREATE TRIGGER same BEFORE UPDATE ON b FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`)
			wantFailure(t, r.Finalize(t.Context(), never), failure.SchemaCopy, "already exists")
			execute(t, p.target, `DROP TRIGGER same ON b`)
			if carried := query(t, p.target, `SELECT count(*)::text FROM pg_largeobject_metadata`); carried != "1206" {
				t.Errorf("the target holds %s large objects after the first try", carried)
			}
			execute(t, p.source, `SELECT lo_put(101, 0, 'again'), lo_unlink(1002), lo_unlink(100), lo_create(100), lo_put(100, 10, 'no longer empty'), lo_from_bytea(5001, ''), lo_from_bytea(4000000000, 'a great number')`)
			r.waitInSync(t)
			r.finalize(t)
			if v := verifiedObjects(r); v == nil || v.State != progress.Verified || v.SourceRows != 1206 || v.SourceHash != v.TargetHash || v.TargetRows != 1206 {
				t.Errorf("the verification says %+v", v)
			}
			admin := connect(t, postgres.ForTest(t, targetMajor).URL(p.target.Database))
			var pages int // of 2 kB; only superusers see them
			if err := admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_largeobject WHERE loid = 102`).Scan(&pages); err != nil || pages > 1000 {
				t.Errorf("the sparse object is not sparse any more: %d pages, %v", pages, err)
			}
			_ = admin.Close(t.Context())
			if mine := query(t, p.target, `SELECT convert_from(lo_get(9999), 'UTF8')`); mine != "mine" {
				t.Errorf("the target's own object holds %q", mine)
			}
			execute(t, p.target, `SELECT lo_unlink(9999)`)
			if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
				t.Fatal(err)
			}
			p.checkObjects(t, 1206)
			p.checkEqual(t)
		})
	}
}

// A large object cannot be locked, and up to PostgreSQL 15 a read-only transaction may write one.
func TestALargeObjectWrittenDuringTheFinalizationStopsIt(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
		SELECT lo_from_bytea(100, 'before'), lo_from_bytea(101, 'before'); CREATE MATERIALIZED VIEW slow AS SELECT pg_sleep(3) IS NULL AS slept`)
	before := p.sourceState(t)
	r := p.run(t)
	r.waitInSync(t)
	finalized := make(chan error, 1)
	go func() { finalized <- r.Finalize(t.Context(), never) }()
	// While the target's view is filled, all objects are carried already.
	p.waitSleeping(t)
	execute(t, p.source, `SET default_transaction_read_only = off; SELECT lo_put(101, 0, 'later'), lo_create(102)`)
	wantFailure(t, <-finalized, failure.VerificationFailed, "(2 of 3): 101, 102")
	if v := verifiedObjects(r); v == nil || v.State != progress.Mismatched {
		t.Errorf("the verification says %+v", v)
	}
	r.waitInSync(t)
	execute(t, p.source, `INSERT INTO a VALUES (1)`)
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	p.checkObjects(t, 3)
}

// waitSleeping waits until a session of the target calls pg_sleep.
func (p *pair) waitSleeping(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for query(t, p.target, `SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`) == "0" {
		if time.Now().After(deadline) {
			t.Fatal("nobody sleeps")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestATransactionThatWritesLargeObjectsIsAwaited(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); SELECT lo_from_bytea(100, 'before')`)
	r := p.run(t)
	r.waitInSync(t)
	// A superuser's session, which the owner's login cannot end, holds no table.
	conn := connect(t, postgres.ForTest(t, sourceMajor).URL(p.source.Database))
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT lo_put(100, 0, 'later')`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, r.Finalize(t.Context(), never), failure.FenceRefused, "is written to by process")
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitInSync(t)
	// One of the owner's own is ended, and what it has not committed is not carried.
	own := connect(t, p.source.URL())
	if _, err := own.Exec(t.Context(), `BEGIN; SELECT lo_put(100, 0, 'never')`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	r.finalize(t)
	if content := query(t, p.target, `SELECT convert_from(lo_get(100), 'UTF8')`); content != "latere" {
		t.Errorf("the target holds %q", content)
	}
	p.checkObjects(t, 1)
}

func TestALargeObjectOfTheTargetIsNeverOverwritten(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); SELECT lo_from_bytea(100, 'source'), lo_from_bytea(101, 'source')`)
	r := p.run(t)
	r.waitInSync(t)
	execute(t, p.target, `SELECT lo_from_bytea(101, 'target')`)
	before := p.sourceState(t)
	wantFailure(t, r.Finalize(t.Context(), never), failure.LargeObjectTaken, ": 101")
	if content := query(t, p.target, `SELECT convert_from(lo_get(101), 'UTF8')`); content != "target" {
		t.Errorf("the target holds %q", content)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("after the failure the source was\n%s\nand is\n%s", before, after)
	}
	// Before the start, it is the preflight check that finds it.
	other := *p
	other.migration.ID = "0badc0de"
	other.source = postgres.ForTest(t, sourceMajor).NewDatabase(t, true)
	other.target = postgres.ForTest(t, targetMajor).NewDatabase(t, false)
	execute(t, other.source, `SELECT lo_create(101)`)
	execute(t, other.target, `SELECT lo_create(101)`)
	report, err := p.engine.Preflight(t.Context(), databaseOf(other.source), databaseOf(other.target))
	if err != nil || !report.Critical() {
		t.Errorf("the preflight check finds %+v, %v", report, err)
	}
	execute(t, p.target, `SELECT lo_unlink(101)`)
	r.waitInSync(t)
	r.finalize(t)
	p.checkObjects(t, 2)
}

func TestCleanTargetRemovesCarriedLargeObjects(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, manyObjects)
	execute(t, p.target, `SELECT lo_from_bytea(9999, 'mine')`)
	r := p.run(t)
	r.waitInSync(t)
	execute(t, p.target, `CREATE TRIGGER same BEFORE UPDATE ON b FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`)
	wantFailure(t, r.Finalize(t.Context(), never), failure.SchemaCopy, "already exists")
	r.stop()
	_ = r.ended(t)
	execute(t, p.target, `SELECT lo_unlink(1003)`) // somebody was quicker
	p.migration.Epoch++
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	if left := query(t, p.target, `SELECT oid::text FROM pg_largeobject_metadata`); left != "9999" {
		t.Errorf("the target still holds the large objects %s", left)
	}
}
