package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// newOfflinePair is a pair whose source login may not replicate.
func newOfflinePair(t *testing.T) *pair {
	t.Helper()
	p := newPair(t)
	p.source = postgres.ForTest(t, sourceMajor).NewDatabase(t, false)
	return p
}

func wantOffline(t *testing.T, r *running, reason string) {
	t.Helper()
	known := r.Progress()
	if known.Method != "offline" || !strings.Contains(known.MethodReason, reason) {
		t.Errorf("the method is %q because of %q, want offline because of %q", known.Method, known.MethodReason, reason)
	}
	if len(known.Warnings) == 0 || !strings.HasPrefix(known.Warnings[0], "Everything is copied during the finalization, about 1 minute without writes (") {
		t.Errorf("the warnings are %q", known.Warnings)
	}
	for _, table := range known.Tables {
		if table.Phase != progress.TableDeferred {
			t.Errorf("table %s is %s", table.Name, table.Phase)
		}
	}
}

// Trap 65: a migration that waits to be finalized, for days it may be, keeps nothing from the source's VACUUM and ALTER TABLE.
func TestOfflineWithoutTheRightToReplicate(t *testing.T) {
	t.Parallel()
	const rows = 1000
	p := newOfflinePair(t)
	execute(t, p.source, shop(rows))
	before := p.sourceState(t)
	w := p.startWriters(t, 3, writeShop(rows))
	r := p.run(t)
	r.waitInSync(t)
	wantOffline(t, r, "has no replication privilege")
	if known := r.Progress(); known.BytesTotal == 0 || known.BytesCopied != 0 {
		t.Errorf("before the finalization, %d of %d bytes are copied", known.BytesCopied, known.BytesTotal)
	}
	const idle = `SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgmig%' AND state LIKE 'idle in transaction%'`
	if sessions := query(t, p.source, idle); sessions != "" {
		t.Errorf("sessions %s keep a snapshot", sessions)
	}
	// Nothing but our schema is on the source, and no row on the target.
	schema := "_pgmig_" + p.migration.ID
	during := fmt.Sprintf("target: identity %[1]s.identities d\ntarget: identity %[1]s.settings d\ntarget: identity %[1]s.worker d\ntarget: schema %[1]s", schema)
	if changes := diff(before, p.sourceState(t)); changes != during {
		t.Errorf("the source was changed:\n%s", changes)
	}
	if copied := query(t, p.target, `SELECT count(*)::text FROM sales.customer`); copied != "0" {
		t.Errorf("%s rows were copied before the finalization", copied)
	}
	w.stop(t)
	if w.done < 10 {
		t.Errorf("the writers made only %d transactions", w.done)
	}
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	execute(t, p.source, `REFRESH MATERIALIZED VIEW sales.per_state_view; REFRESH MATERIALIZED VIEW sales.busy_view`)
	p.checkEqual(t)
}

func TestOfflineWithoutLogicalDecoding(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		major    int
		settings map[string]string
		reason   string
	}{
		"wal_level replica": {15, map[string]string{"wal_level": "replica"}, "Parameter wal_level is 'replica' (must be 'logical')"},
		"wal_level minimal": {10, map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}, "Parameter wal_level is 'minimal' (must be 'logical'); "},
		"no free slot":      {18, map[string]string{"max_replication_slots": "1"}, "Not enough free replication slots (0 of 1 in use, 2 needed)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			cluster, err := postgres.Start(t.Context(), postgres.Options{Major: test.major, Settings: test.settings})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := cluster.Stop(); err != nil {
					t.Error(err)
				}
			})
			if p.source, err = cluster.CreateOwnerDatabase(t.Context(), "app", true); err != nil {
				t.Fatal(err)
			}
			execute(t, p.source, `CREATE TABLE a (id serial PRIMARY KEY, v text); INSERT INTO a (v) SELECT md5(i::text) FROM generate_series(1, 1000) AS i;
				CREATE TABLE b (id int REFERENCES a, n numeric); INSERT INTO b SELECT id, id / 3.0 FROM a`)
			r := p.run(t)
			r.waitInSync(t)
			wantOffline(t, r, test.reason)
			execute(t, p.source, `INSERT INTO a (v) VALUES ('later'); DELETE FROM b WHERE id = 7`)
			r.finalize(t)
			if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
				t.Fatal(err)
			}
			p.checkEqual(t)
		})
	}
}

func TestTheOfflineMethodCanBeRefused(t *testing.T) {
	t.Parallel()
	p := newOfflinePair(t)
	p.engine.Settings.RefuseOffline = true
	execute(t, p.source, `CREATE TABLE a (id int); CREATE TABLE b (id int PRIMARY KEY)`)
	before, beforeTarget := p.sourceState(t), dumpSchema(t, p.target)
	err := p.run(t).ended(t)
	wantFailure(t, err, failure.PreflightCritical, "has no replication privilege")
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

// disturb makes the target do something with each row that is copied into the table.
func disturb(t *testing.T, target postgres.Login, table, what string) {
	t.Helper()
	execute(t, target, `CREATE SCHEMA disturbance; CREATE FUNCTION disturbance.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN `+what+`; RETURN NEW; END $$;
		CREATE TRIGGER disturbance BEFORE INSERT ON `+table+` FOR EACH ROW EXECUTE FUNCTION disturbance.f()`)
}

const calm = `DROP SCHEMA disturbance CASCADE`

func TestAFailedOfflineCopyGivesTheSourceBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		disturbance string
		code        failure.Code
		text        string
	}{
		"in the copy":         {`IF NEW.id = 500 THEN RAISE EXCEPTION 'disturbed'; END IF`, failure.Database, "disturbed"},
		"in the verification": {`NEW.v = CASE NEW.id WHEN 500 THEN 'x' ELSE NEW.v END`, failure.VerificationFailed, "public.b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newOfflinePair(t)
			execute(t, p.source, `CREATE TABLE a (id serial PRIMARY KEY, v text); INSERT INTO a (v) SELECT repeat(md5(i::text), 10) FROM generate_series(1, 1000) AS i;
				CREATE TABLE b (id int PRIMARY KEY REFERENCES a, v text); INSERT INTO b SELECT id, id FROM a; CREATE INDEX ON b (v)`)
			r := p.run(t)
			r.waitInSync(t)
			before := p.sourceState(t)
			disturb(t, p.target, "b", test.disturbance)
			wantFailure(t, r.Finalize(t.Context(), never), test.code, test.text)
			execute(t, p.target, calm)
			if after := p.sourceState(t); after != before {
				t.Errorf("after the failure the source was\n%s\nand is\n%s", before, after)
			}
			execute(t, p.source, `INSERT INTO a (v) VALUES ('after the failure'); DELETE FROM b WHERE id < 10; UPDATE b SET v = 'changed' WHERE id = 10`)
			r.waitInSync(t)
			wantOffline(t, r, "has no replication privilege")
			r.finalize(t)
			if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
				t.Fatal(err)
			}
			p.checkEqual(t)
		})
	}
}

func TestAWorkerThatDiesInAnOfflineCopyIsReplaced(t *testing.T) {
	t.Parallel()
	p := newOfflinePair(t)
	execute(t, p.source, `CREATE TABLE a (id serial PRIMARY KEY, v text); INSERT INTO a (v) SELECT repeat(md5(i::text), 10) FROM generate_series(1, 1000) AS i;
		CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b SELECT id FROM a`)
	r := p.run(t)
	r.waitInSync(t)
	disturb(t, p.target, "b", `PERFORM pg_sleep(0.05)`)
	ctx, cancel := context.WithCancel(t.Context())
	finalized := make(chan error, 1)
	go func() { finalized <- r.Finalize(ctx, never) }()
	p.waitSleeping(t)
	if known := r.Progress(); known.Phase != progress.Finalizing || !known.InSync || known.BytesCopied == 0 {
		t.Errorf("during the copy the progress is %+v", known)
	}
	cancel()
	if err := <-finalized; !errors.Is(err, context.Canceled) {
		t.Errorf("the finalization of the dying worker ended with %v", err)
	}
	r.stop()
	_ = r.ended(t)
	execute(t, p.target, calm)
	// A worker that is killed cannot give the source back: its locks go with its sessions, the default stays.
	execute(t, p.source, fmt.Sprintf(`INSERT INTO _pgmig_%s.settings VALUES ('default_transaction_read_only', NULL)`, p.migration.ID))
	execute(t, p.source, `ALTER DATABASE `+pgx.Identifier{p.source.Database}.Sanitize()+` SET default_transaction_read_only = on`)
	// The method stays what it was, also when the source could replicate by now.
	if err := postgres.ForTest(t, sourceMajor).Exec(t.Context(), "postgres", `ALTER ROLE `+pgx.Identifier{p.source.User}.Sanitize()+` REPLICATION`); err != nil {
		t.Fatal(err)
	}
	p.migration.Epoch++
	r = p.run(t)
	r.waitInSync(t)
	wantOffline(t, r, "has no replication privilege")
	execute(t, p.source, `INSERT INTO a (v) VALUES ('after the death')`)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

func TestAChangedSchemaEndsAnOfflineMigration(t *testing.T) {
	t.Parallel()
	p := newOfflinePair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, v int)`)
	beforeTarget := dumpSchema(t, p.target)
	r := p.run(t)
	r.waitInSync(t)
	execute(t, p.source, `ALTER TABLE a ADD w int`)
	wantFailure(t, r.Finalize(t.Context(), never), failure.SchemaChanged, "public.a")
	wantFailure(t, r.ended(t), failure.SchemaChanged, "public.a")
	p.migration.Epoch++
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	if after := dumpSchema(t, p.target); after != beforeTarget {
		t.Errorf("the target differs:\n%s", diff(beforeTarget, after))
	}
}
