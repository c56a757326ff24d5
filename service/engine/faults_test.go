package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

func never(context.Context) error { return errors.New("the opening must not be reached") }

func wantFailure(t *testing.T, err error, code failure.Code, text string) {
	t.Helper()
	f := failure.Of(err)
	if f == nil || f.Code != code || !strings.Contains(f.Message, text) {
		t.Errorf("got %v (%+v), want a failure %s with %q", err, f, code, text)
	}
}

// Traps 16 to 18: rows without a key, keys that change, large values that are not sent. Trap 28: a unique constraint that is
// broken until the end. Trap 34: TRUNCATE. Trap 39: what was taken back.
func TestChangesOfEveryKind(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `
		CREATE TABLE keyed (a int, b text, v text, PRIMARY KEY (a, b));
		CREATE TABLE large (id int PRIMARY KEY, n int, big text, other text);
		ALTER TABLE large ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
		CREATE TABLE bare_large (n int, big text);
		ALTER TABLE bare_large ALTER big SET STORAGE EXTERNAL;
		CREATE TABLE emptied (id serial PRIMARY KEY, v text);
		CREATE TABLE full_with_key (id int PRIMARY KEY, v text);
		ALTER TABLE full_with_key REPLICA IDENTITY FULL;
		CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL);
		CREATE UNIQUE INDEX by_code ON by_index (code);
		ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_code;
		CREATE TABLE nothing (id int PRIMARY KEY, v text);
		ALTER TABLE nothing REPLICA IDENTITY NOTHING;
		CREATE TABLE "we""ird; -- Table" ("a b" int PRIMARY KEY, "select" text, "Ü$1" text[]);
		CREATE TABLE unique_once (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED);
		INSERT INTO keyed SELECT i, 'b' || i, 'v' FROM generate_series(1, 100) AS i;
		INSERT INTO large SELECT i, 0, repeat(md5(i::text), 500), repeat('y', 9000) FROM generate_series(1, 20) AS i;
		INSERT INTO bare_large SELECT i % 3, repeat(md5((i % 4)::text), 500) FROM generate_series(1, 20) AS i;
		INSERT INTO emptied (v) SELECT 'v' FROM generate_series(1, 100);
		INSERT INTO unique_once SELECT i, i FROM generate_series(1, 100) AS i`)
	before := p.sourceState(t)
	r := p.run(t)
	r.waitInSync(t)
	for _, sql := range []string{
		`UPDATE keyed SET a = a + 1000 WHERE a % 2 = 0`,
		`UPDATE keyed SET b = b || '!', v = NULL WHERE a % 3 = 0`,
		`DELETE FROM keyed WHERE a % 5 = 0`,
		`UPDATE large SET n = n + 1`,
		`UPDATE large SET id = id + 100 WHERE id % 2 = 0`,
		`UPDATE large SET other = repeat('z', 8000) WHERE id % 3 = 0`,
		`UPDATE bare_large SET n = n + 10 WHERE n = 1`,
		`DELETE FROM bare_large WHERE ctid = (SELECT max(ctid) FROM bare_large)`,
		`TRUNCATE emptied RESTART IDENTITY; INSERT INTO emptied (v) VALUES ('after')`,
		`BEGIN; INSERT INTO emptied (v) VALUES ('no'); SAVEPOINT s; INSERT INTO emptied (v) VALUES ('no'); ROLLBACK TO s; INSERT INTO emptied (v) VALUES (''); COMMIT`,
		`BEGIN; DELETE FROM emptied; ROLLBACK`,
		`INSERT INTO full_with_key VALUES (1, 'a'), (2, NULL); UPDATE full_with_key SET id = 3, v = 'c' WHERE id = 2; DELETE FROM full_with_key WHERE id = 1`,
		`INSERT INTO by_index VALUES (1, 'x'), (2, 'y'); UPDATE by_index SET code = 'z', id = 9 WHERE id = 1; DELETE FROM by_index WHERE id = 2`,
		`INSERT INTO nothing VALUES (1, 'x'), (2, 'y'); UPDATE nothing SET v = 'z' WHERE id = 1; DELETE FROM nothing WHERE id = 2`,
		`INSERT INTO "we""ird; -- Table" VALUES (1, E'\\ '' \t', '{"a,b","c\"d",NULL,""}'); UPDATE "we""ird; -- Table" SET "select" = '', "Ü$1" = '{}'`,
		`UPDATE unique_once SET u = u + 1`,
		`INSERT INTO keyed SELECT i, 'bulk', repeat('w', 100) FROM generate_series(10000, 60000) AS i`,
		`UPDATE keyed SET v = md5(v) WHERE b = 'bulk'`,
	} {
		execute(t, p.source, sql)
	}
	r.waitInSync(t)
	r.finalize(t)
	var changes int64
	for _, table := range r.Progress().Tables {
		changes += table.Inserts + table.Updates + table.Deletes
	}
	if changes < 100000 {
		t.Errorf("only %d changes counted", changes)
	}
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	p.checkEqual(t)
}

// Traps 23 and 25: a worker goes on exactly where the one before was stopped, whenever that was.
func TestAnotherWorkerGoesOn(t *testing.T) {
	t.Parallel()
	const rows = 3000
	p := newPair(t)
	execute(t, p.source, shop(rows))
	w := p.startWriters(t, 2, writeShop(rows))
	// Workers are stopped at random moments of preparing, copying and streaming; the last one finishes.
	random := rand.New(rand.NewPCG(1, 2))
	for p.migration.Epoch = 1; p.migration.Epoch < 8; p.migration.Epoch++ {
		r := p.run(t)
		time.Sleep(time.Duration(50+random.IntN(500)) * time.Millisecond)
		r.stop()
		if err := r.ended(t); !errors.Is(err, context.Canceled) {
			t.Fatalf("worker %d ended with %v", p.migration.Epoch, err)
		}
	}
	r := p.run(t)
	r.waitInSync(t)
	w.stop(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	execute(t, p.source, `REFRESH MATERIALIZED VIEW sales.per_state_view; REFRESH MATERIALIZED VIEW sales.busy_view`)
	p.checkEqual(t)
}

// Trap 26: two workers at once.
func TestTheOlderOfTwoWorkersIsFenced(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1); CREATE TABLE b (id int PRIMARY KEY)`)
	older := p.run(t)
	older.waitInSync(t)
	p.migration.Epoch = 2
	newer := p.run(t)
	wantFailure(t, older.ended(t), failure.TakenOver, "worker")
	execute(t, p.source, `INSERT INTO a VALUES (2)`)
	newer.waitInSync(t)
	newer.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// ownServers starts servers that a test may restart.
func ownServers(t *testing.T) (p *pair, source, target *postgres.Cluster) {
	t.Helper()
	return startServers(t, postgres.Options{Durable: true})
}

// startServers starts servers with the options, whose version it chooses.
func startServers(t *testing.T, options postgres.Options) (p *pair, source, target *postgres.Cluster) {
	t.Helper()
	p = &pair{engine: newEngine(t)}
	start := func(major int, replication bool) (*postgres.Cluster, postgres.Login) {
		options.Major = major
		c, err := postgres.Start(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Stop(); err != nil {
				t.Error(err)
			}
		})
		login, err := c.CreateOwnerDatabase(t.Context(), "app", replication)
		if err != nil {
			t.Fatal(err)
		}
		return c, login
	}
	source, p.source = start(sourceMajor, true)
	target, p.target = start(targetMajor, false)
	p.migration = engine.Migration{ID: fmt.Sprintf("%08x", rand.Uint32()), Epoch: 1, Databases: func(context.Context) (database.Database, database.Database, error) {
		return databaseOf(p.source), databaseOf(p.target), nil
	}}
	return p, source, target
}

// Traps 23 to 25: nothing is lost and nothing comes twice when a server crashes. Trap 27: tables are described again.
func TestServersThatCrash(t *testing.T) {
	t.Parallel()
	p, source, target := ownServers(t)
	execute(t, p.source, `CREATE TABLE a (id serial PRIMARY KEY, v text); INSERT INTO a (v) SELECT md5(i::text) FROM generate_series(1, 20000) AS i; CREATE TABLE b (id int)`)
	r := p.run(t)
	r.waitInSync(t)
	for _, server := range []*postgres.Cluster{target, source, target, source} {
		for range 5 {
			execute(t, p.source, `INSERT INTO a (v) SELECT 'x' FROM generate_series(1, 2000); UPDATE a SET v = v || '.' WHERE id % 7 = 0; INSERT INTO b VALUES (1)`)
		}
		if err := server.Kill9(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// What was in sync before the crash says nothing: wait for a row of after it.
	execute(t, p.source, `INSERT INTO b VALUES (4711)`)
	deadline := time.Now().Add(time.Minute)
	for query(t, p.target, `SELECT count(*)::text FROM b WHERE id = 4711`) != "1" {
		if time.Now().After(deadline) {
			t.Fatalf("the replication did not go on: %+v", r.Progress())
		}
		time.Sleep(200 * time.Millisecond)
	}
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// Traps 20 and 21: a new table, a new partition and another name of a table are not overlooked. Trap 27: nor is another type.
func TestAChangedSchemaEndsTheReplication(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, names string }{
		"column added":   {`ALTER TABLE a ADD COLUMN w int DEFAULT 7; INSERT INTO a VALUES (2, 3, 4)`, "public.a"},
		"column retyped": {`ALTER TABLE a ALTER v TYPE bigint; INSERT INTO a VALUES (2, 3)`, "public.a"},
		"table renamed":  {`ALTER TABLE a RENAME TO c; INSERT INTO c VALUES (2, 3)`, "public.a"},
		"table moved":    {`CREATE SCHEMA s; ALTER TABLE a SET SCHEMA s; INSERT INTO s.a VALUES (2, 3)`, "public.a"},
		"partition":      {`CREATE TABLE d PARTITION OF parted FOR VALUES IN (1); INSERT INTO parted VALUES (1)`, "public.d"},
		"table added":    {`CREATE TABLE d (id int)`, "public.d"},
		"key added":      {`CREATE UNIQUE INDEX late ON a (v)`, "public.late"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1); CREATE TABLE parted (id int) PARTITION BY LIST (id)`)
			r := p.run(t)
			r.waitInSync(t)
			execute(t, p.source, c.sql)
			wantFailure(t, r.ended(t), failure.SchemaChanged, c.names)
			// The way out that the hint names.
			p.migration.Epoch++
			if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
				t.Fatal(err)
			}
			if left := query(t, p.target, `SELECT relname::text FROM pg_class WHERE relnamespace IN ('public'::regnamespace) UNION SELECT nspname FROM pg_namespace WHERE nspname ~ 'pgmig'`); left != "" {
				t.Errorf("the target still holds %s", left)
			}
			p.migration.ID = fmt.Sprintf("%08x", rand.Uint32())
			r = p.run(t)
			r.waitInSync(t)
		})
	}
}

// Trap 61: everything carries the migration's name, and nothing else is touched.
func TestCleanTargetRemovesOnlyWhatTheReplicationMade(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.target, `CREATE TABLE own (id int); INSERT INTO own VALUES (1); CREATE SCHEMA shared; CREATE FUNCTION shared.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`)
	execute(t, p.source, shop(50)+`; CREATE SCHEMA shared; CREATE TABLE shared.t (id int PRIMARY KEY)`)
	before, beforeSource := dumpSchema(t, p.target), p.sourceState(t)
	r := p.run(t)
	r.waitInSync(t)
	r.stop()
	_ = r.ended(t)
	p.migration.Epoch++
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	if after := dumpSchema(t, p.target); after != before {
		t.Errorf("the target differs:\n%s", diff(before, after))
	}
	if after := p.sourceState(t); after != beforeSource {
		t.Errorf("the source was\n%s\nand is\n%s", beforeSource, after)
	}
}

// holdTable opens a transaction that has written to table a. It is a superuser's, which the owner's login cannot end.
func (p *pair) holdTable(t *testing.T) pgx.Tx {
	t.Helper()
	conn := connect(t, postgres.ForTest(t, sourceMajor).URL(p.source.Database))
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO a VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	return tx
}

// Trap 45: only the lock on a table proves that nobody writes to it.
func TestASessionThatHoldsATableStopsTheFinalizationOnly(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitVerified(t)
	before := p.sourceState(t)
	tx := p.holdTable(t)
	wantFailure(t, r.Finalize(t.Context(), never), failure.FenceRefused, "process")
	if after := p.sourceState(t); after != before {
		t.Errorf("after the failure the source was\n%s\nand is\n%s", before, after)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, p.source, `INSERT INTO b VALUES (2)`)
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// Trap 54: whatever ends a finalization early gives the source back.
func TestACancelledFinalizationGivesTheSourceBack(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitVerified(t)
	before := p.sourceState(t)
	tx := p.holdTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	if err := r.Finalize(ctx, never); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled finalization gives %v", err)
	}
	_ = tx.Rollback(t.Context())
	if after := p.sourceState(t); after != before {
		t.Errorf("after the cancellation the source was\n%s\nand is\n%s", before, after)
	}
	execute(t, p.source, `INSERT INTO a VALUES (1)`)
	r.waitInSync(t)
	r.finalize(t)
}

// Trap 54: what a dead worker left fenced is given back. Trap 55: after the end nothing can be applied any more.
func TestAWorkerThatDiesInTheFinalizationLeavesNoFence(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitInSync(t)
	r.stop()
	_ = r.ended(t)
	// What a killed worker leaves behind: the default and the record of it.
	execute(t, p.source, fmt.Sprintf(`INSERT INTO _pgmig_%s.settings VALUES ('default_transaction_read_only', NULL)`, p.migration.ID))
	execute(t, p.source, `ALTER DATABASE `+pgx.Identifier{p.source.Database}.Sanitize()+` SET default_transaction_read_only = on`)
	p.migration.Epoch++
	r = p.run(t)
	r.waitInSync(t)
	execute(t, p.source, `INSERT INTO a VALUES (1)`)
	r.finalize(t)
	if slots := query(t, p.source, `SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`); slots != "" {
		t.Errorf("the slot %s of a finished migration is left", slots)
	}
	// The fence of a finished migration stays until it is deleted.
	p.migration.Epoch++
	p.migration.Opened = true
	again := p.run(t)
	if err := again.ended(t); err != nil {
		t.Errorf("a finished migration that is run again ends with %v", err)
	}
	// Brokers write to the catalog: the setting is given back, and what refuses writes is a trigger on each table.
	if readOnly := query(t, p.source, `SHOW default_transaction_read_only`); readOnly != "off" {
		t.Errorf("default_transaction_read_only is %s after the migration", readOnly)
	}
	if refused := query(t, p.source, `SELECT count(*) FROM pg_trigger WHERE tgname = '_pgmig_refuse'`); refused != "2" {
		t.Errorf("writes are refused by triggers on %s tables of 2", refused)
	}
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t) // clean_target has not touched the migrated database
}

// Trap 40: a slot that is gone, as after a failover, ends the replication. Another one would leave a gap.
func TestALostSlotIsNamed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitInSync(t)
	r.stop()
	_ = r.ended(t)
	slot := "pgmig_" + p.migration.ID
	admin := connect(t, postgres.ForTest(t, sourceMajor).URL(p.source.Database))
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := admin.Exec(t.Context(), `SELECT pg_drop_replication_slot($1)`, slot)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.migration.Epoch++
	wantFailure(t, p.run(t).ended(t), failure.SlotLost, slot)
}

// Trap 62: a login may end its own sessions only as itself.
// A service key's login is often only a member of the role that owns everything, and set to it.
func TestLoginsThatAreMembersOfTheOwner(t *testing.T) {
	t.Parallel()
	const rows = 300
	p := newPair(t)
	execute(t, p.source, shop(rows))
	member := func(major int, owner postgres.Login, replication string) postgres.Login {
		l := owner
		l.User, l.Password = "key_"+fmt.Sprintf("%08x", rand.Uint32()), "p'w\""
		sql := fmt.Sprintf(`CREATE ROLE %[1]s LOGIN %[2]s PASSWORD 'p''w"'; GRANT %[3]s TO %[1]s; ALTER ROLE %[1]s IN DATABASE %[4]s SET role TO %[3]s`,
			l.User, replication, pgx.Identifier{owner.User}.Sanitize(), pgx.Identifier{owner.Database}.Sanitize())
		cluster := postgres.ForTest(t, major)
		if err := cluster.Exec(t.Context(), owner.Database, sql); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cluster.Exec(context.Background(), "postgres", fmt.Sprintf(`DROP OWNED BY %[1]s; DROP ROLE %[1]s`, l.User))
		})
		return l
	}
	owner := *p
	p.source = member(sourceMajor, p.source, "REPLICATION")
	p.target = member(targetMajor, p.target, "NOREPLICATION")
	before := p.sourceState(t)
	w := owner.startWriters(t, 2, writeShop(rows))
	r := p.run(t)
	r.waitInSync(t)
	w.stop(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	execute(t, p.source, `REFRESH MATERIALIZED VIEW sales.per_state_view; REFRESH MATERIALIZED VIEW sales.busy_view`)
	owner.checkEqual(t)
	if owners := query(t, p.target, `SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'sales'::regnamespace`); owners != owner.target.User {
		t.Errorf("the target's tables are owned by %s", owners)
	}
}

func TestACriticalIssueEndsTheReplicationBeforeAnythingIsChanged(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int); CREATE TABLE b (id int PRIMARY KEY)`)
	execute(t, p.target, `CREATE TABLE a (id int)`)
	before, beforeTarget := p.sourceState(t), dumpSchema(t, p.target)
	err := p.run(t).ended(t)
	wantFailure(t, err, failure.PreflightCritical, "already holds objects of the same name")
	if f := failure.Of(err); f == nil || !f.Untouched {
		t.Errorf("the failure does not say that nothing was made: %+v", f)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	if after := dumpSchema(t, p.target); after != beforeTarget {
		t.Errorf("the target differs:\n%s", diff(beforeTarget, after))
	}
}

// Trap 1: what is truncated after the snapshot cannot be copied from it.
// A table that is truncated all the time does not keep the others from being copied: it alone waits for another snapshot.
func TestATableTruncatedAgainAndAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE staging (id int PRIMARY KEY); CREATE TABLE big (id int PRIMARY KEY, v text); INSERT INTO big SELECT n, repeat('x', 100) FROM generate_series(1, 50000) AS n`)
	w := p.startWriters(t, 1, func(ctx context.Context, conn *pgx.Conn, random *rand.Rand) error {
		time.Sleep(time.Second)
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `TRUNCATE staging`); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `INSERT INTO staging SELECT n FROM generate_series(1, 1 + $1::int) AS n`, random.IntN(50))
			return err
		})
	})
	r := p.run(t)
	r.waitInSync(t)
	w.stop(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
	if slots := query(t, p.source, `SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ 'pgmig_`+p.migration.ID+`'`); slots != "0" {
		t.Errorf("%s slots are left", slots)
	}
}

// Trap 59: before PostgreSQL 12 a floating-point number has another text.
func TestNumbersOfAnOlderVersionAreTakenForEqual(t *testing.T) {
	t.Parallel()
	p := newPairOf(t, 10, targetMajor)
	execute(t, p.source, `CREATE TABLE numbers (id int PRIMARY KEY, n float8, m real); INSERT INTO numbers SELECT i, i / 7.0, i / 7.0 FROM generate_series(1, 100) AS i`)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.source, `UPDATE numbers SET n = n / 3, m = m / 3`)
	r.waitInSync(t)
	r.finalize(t)
}

// Trap 63: service keys are renewed while a migration runs. No connection string is kept on either side.
func TestAPasswordThatIsChanged(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	var mu sync.Mutex
	p.migration.Databases = func(context.Context) (database.Database, database.Database, error) {
		mu.Lock()
		defer mu.Unlock()
		return databaseOf(p.source), databaseOf(p.target), nil
	}
	r := p.run(t)
	r.waitInSync(t)
	mu.Lock()
	for major, login := range map[int]*postgres.Login{sourceMajor: &p.source, targetMajor: &p.target} {
		login.Password = "changed"
		sql := fmt.Sprintf(`ALTER ROLE %s PASSWORD 'changed'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s'`, pgx.Identifier{login.User}.Sanitize(), login.User)
		if err := postgres.ForTest(t, major).Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatal(err)
		}
	}
	mu.Unlock()
	execute(t, p.source, `INSERT INTO a VALUES (1)`)
	r.waitFor(t, "the row is there", func(progress.Progress) bool { return query(t, p.target, `SELECT count(*)::text FROM a`) == "1" })
	if subscriptions := query(t, p.target, `SELECT count(*)::text FROM pg_stat_subscription`); subscriptions != "0" {
		t.Errorf("the target has %s subscriptions", subscriptions)
	}
	r.waitInSync(t)
	r.finalize(t)
}

// Trap 4: a slot waits for every write transaction of the server. The wait has a limit.
func TestATransactionThatKeepsTheSlotWaiting(t *testing.T) {
	t.Parallel()
	p, source, _ := ownServers(t)
	p.engine.Settings.SlotWait = time.Second
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY)`)
	tx, err := connect(t, source.URL(p.source.Database)).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO a VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, p.run(t).ended(t), failure.Timeout, "a write transaction on the source does not end")
	_ = tx.Rollback(t.Context())
}

// Trap 1: no snapshot ever shows a table that is truncated without a pause. It is copied under the fence, and until then what
// the stream says of it is left out.
func TestATableTruncatedWithoutAPause(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE staging (id int PRIMARY KEY, v text UNIQUE); CREATE TABLE other (id serial PRIMARY KEY, n int)`)
	w := p.startWriters(t, 1, func(ctx context.Context, conn *pgx.Conn, random *rand.Rand) error {
		time.Sleep(5 * time.Millisecond)
		_, err := conn.Exec(ctx, fmt.Sprintf(`TRUNCATE staging; INSERT INTO staging SELECT n, n FROM generate_series(1, %d) AS n; INSERT INTO other (n) VALUES (1)`, 1+random.IntN(50)), pgx.QueryExecModeSimpleProtocol)
		return err
	})
	r := p.run(t)
	r.waitInSync(t)
	known := r.Progress()
	if i := slices.IndexFunc(known.Tables, func(table progress.TableProgress) bool { return table.Name == "staging" }); known.Tables[i].Phase != progress.TableDeferred {
		t.Errorf("table staging is %s", known.Tables[i].Phase)
	}
	if !slices.ContainsFunc(known.Warnings, func(text string) bool {
		return strings.Contains(text, "staging is truncated or rewritten all the time")
	}) {
		t.Errorf("warnings %q", known.Warnings)
	}
	r.stop()
	_ = r.ended(t)
	p.migration.Epoch++
	r = p.run(t) // which knows it from the ledger
	r.waitInSync(t)
	w.stop(t)
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// watchTables makes the target do something after it has created the table half.
func (p *pair) watchTables(t *testing.T, do string) (unwatch func()) {
	t.Helper()
	cluster := postgres.ForTest(t, targetMajor)
	execute := func(sql string) {
		t.Helper()
		if err := cluster.Exec(t.Context(), p.target.Database, sql); err != nil {
			t.Fatal(err)
		}
	}
	execute(`CREATE SCHEMA watch;
		CREATE FUNCTION watch.tables() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.half') THEN ` + do + `; END IF;
		END $$;
		CREATE EVENT TRIGGER watch_tables ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION watch.tables()`)
	return func() { execute(`DROP EVENT TRIGGER IF EXISTS watch_tables; DROP SCHEMA IF EXISTS watch CASCADE`) }
}

// The schema is copied in several transactions. What breaks off in between goes on, or is removed.
func TestASchemaCopyThatIsBrokenOff(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `
		CREATE SCHEMA s;
		DO $$ BEGIN FOR i IN 1..81 LOOP
			EXECUTE format('CREATE TABLE %s (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)', CASE WHEN i > 41 THEN 'z' || i WHEN i < 41 THEN 'a' || i ELSE 'half' END);
		END LOOP; END $$;
		CREATE VIEW s.v AS SELECT * FROM half;
		INSERT INTO half DEFAULT VALUES`)
	before := dumpSchema(t, p.target)
	unwatch := p.watchTables(t, `RAISE EXCEPTION 'not this one'`)
	err := p.run(t).ended(t)
	wantFailure(t, err, failure.SchemaCopy, "creating table half in schema public")
	unwatch()
	if n := query(t, p.target, `SELECT count(*)::text FROM _pgmig.entries WHERE done`); n == "0" {
		t.Error("nothing was created")
	}
	p.migration.Epoch++
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	if after := dumpSchema(t, p.target); after != before {
		t.Errorf("the target differs:\n%s", diff(before, after))
	}

	unwatch = p.watchTables(t, `PERFORM pg_catalog.pg_sleep(3600)`)
	r := p.run(t)
	deadline := time.Now().Add(time.Minute)
	for query(t, p.target, `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`) != "1" {
		if time.Now().After(deadline) {
			t.Fatal("the table was not created")
		}
		time.Sleep(50 * time.Millisecond)
	}
	execute(t, p.source, `UPDATE half SET id = 4711`)
	r.stop()
	_ = r.ended(t)
	unwatch()
	p.migration.Epoch++
	r = p.run(t)
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}
