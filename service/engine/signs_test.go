package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// at makes the source execute something once, when a worker of this process reaches a point.
func (p *pair) at(t *testing.T, point, sql string) {
	t.Helper()
	var once sync.Once
	p.engine.OnReached(func(reached string) {
		if reached == point {
			once.Do(func() { execute(t, p.source, sql) })
		}
	})
}

// removeAndCheck removes the migration that has succeeded, and compares what is left.
func (p *pair) removeAndCheck(t *testing.T) {
	t.Helper()
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// opens is what a finalization is given that is to succeed.
func opens(context.Context) error { return nil }

// Trap 70: a table that is created after the publication was made, and before the snapshot, is copied and never published.
func TestATableThatIsCreatedBeforeTheSnapshot(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY)`)
	p.at(t, "snapshot", `CREATE TABLE late (id int PRIMARY KEY, v text); INSERT INTO late VALUES (1, 'copied'); CREATE TABLE keyless (v text)`)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.source, `INSERT INTO late VALUES (2, 'new'); UPDATE late SET v = 'changed' WHERE id = 1; INSERT INTO keyless VALUES ('new'); UPDATE keyless SET v = 'changed'`)
	r.finalize(t)
	p.removeAndCheck(t)
}

// Trap 71: the same type, but other contents: neither the stream nor the fingerprint shows it.
func TestATableThatIsRewrittenWithOtherContents(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE prices (id int PRIMARY KEY, cents numeric(10,2)); INSERT INTO prices SELECT i, i FROM generate_series(1, 100) AS i`)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.source, `ALTER TABLE prices ALTER COLUMN cents TYPE numeric(10,2) USING cents * 100`)
	wantFailure(t, r.Finalize(t.Context(), never), failure.VerificationFailed, "prices")
	r.waitVerified(t)
	r.finalize(t)
	p.removeAndCheck(t)
}

// Trap 72: somebody takes a table from our publication, and puts it back. What was written in between is not in the stream.
func TestATableThatIsNotPublishedForAWhile(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]string{"for good": "", "and put back": "ALTER PUBLICATION {publication} ADD TABLE ONLY a"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'one'); CREATE TABLE b (id int PRIMARY KEY)`)
			r := p.run(t)
			r.waitVerified(t)
			publication := "pgmig_" + p.migration.ID
			execute(t, p.source, strings.ReplaceAll(`ALTER PUBLICATION {publication} DROP TABLE ONLY a; INSERT INTO a VALUES (2, 'two'); `+back, "{publication}", publication))
			for deadline := time.Now().Add(time.Minute); ; {
				err := r.Finalize(t.Context(), opens)
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
				r.waitVerified(t)
			}
			if err := r.ended(t); err != nil {
				t.Fatal(err)
			}
			p.removeAndCheck(t)
		})
	}
}

// Trap 73: without its identity the application's updates of a published table fail.
func TestAnIdentityThatIsReplaced(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int NOT NULL, v text); CREATE UNIQUE INDEX first ON a (id); INSERT INTO a VALUES (1, 'one'); CREATE TABLE b (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitVerified(t)
	execute(t, p.source, `CREATE UNIQUE INDEX second ON a (id); DROP INDEX first; ALTER INDEX second RENAME TO first`)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		conn := connect(t, p.source.URL())
		_, err := conn.Exec(t.Context(), `UPDATE a SET v = 'two'`)
		_ = conn.Close(context.WithoutCancel(t.Context()))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	r.wantWarning(t, "public.a", "replica identity")
	r.waitInSync(t)
	if err := r.Finalize(t.Context(), opens); err != nil {
		t.Fatal(err)
	}
	if err := r.ended(t); err != nil {
		t.Fatal(err)
	}
	p.removeAndCheck(t)
}

// Trap 74: a restrictive policy that is made after the finalization has looked at the schema would be missing on the target.
func TestAPolicyThatIsMadeBeforeTheFence(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a ENABLE ROW LEVEL SECURITY`)
	p.at(t, "fence", `CREATE POLICY nobody ON a AS RESTRICTIVE USING (false)`)
	r := p.run(t)
	r.waitVerified(t)
	wantFailure(t, r.Finalize(t.Context(), never), failure.SchemaChanged, "policy a nobody")
	execute(t, p.source, `INSERT INTO a VALUES (1)`)
	r.waitInSync(t)
	r.finalize(t)
	if policies := query(t, p.target, `SELECT polname::text FROM pg_policy`); policies != "nobody" {
		t.Errorf("the target has the policies %q", policies)
	}
}

// Trap 75: a replication that has FAILED harms nobody on the source.
func TestAFailedReplicationGivesTheSourceBack(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'one'); CREATE TABLE keyless (v text)`)
	before := p.sourceState(t)
	r := p.run(t)
	r.waitInSync(t)
	execute(t, p.source, `ALTER TABLE a ADD COLUMN more int`)
	wantFailure(t, r.ended(t), failure.SchemaChanged, "public.a")
	execute(t, p.source, `ALTER TABLE a DROP CONSTRAINT a_pkey; UPDATE a SET v = 'two'; DELETE FROM a`)
	during := fmt.Sprintf("target: identity %[1]s.beat d\ntarget: identity %[1]s.identities d\ntarget: identity %[1]s.settings d\ntarget: identity %[1]s.worker d\ntarget: schema %[1]s", "_pgmig_"+p.migration.ID)
	if changes := diff(before, p.sourceState(t)); changes != during {
		t.Errorf("the source was changed:\n%s", changes)
	}
	p.migration.Epoch++
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
}

// Trap 76: something on the target that takes long, such as a backup, keeps writers off the source.
func TestTheTimeWithoutWritersIsLimited(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.engine.Settings.FenceLimit = 2 * time.Second
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)`)
	r := p.run(t)
	r.waitVerified(t)
	backup, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Exec(t.Context(), `LOCK TABLE a IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, r.Finalize(t.Context(), never), failure.Timeout, "kept off the source for longer than 2s")
	execute(t, p.source, `INSERT INTO a VALUES (1)`)
	if seconds := r.FinalizationProgress().FencedSeconds; seconds > 4 {
		t.Errorf("the source was fenced for %.1f seconds", seconds)
	}
	if err := backup.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitInSync(t)
	r.finalize(t)
}

// Trap 77: a target that is put back to an earlier state, or replaced by a replica that lacks the last commits, has lost what the
// source will not send again.
func TestATargetThatIsPutBackIsNamed(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{"in sync": "", "after a verification": "verified"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _, target := ownServers(t)
			execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY)`)
			r := p.run(t)
			r.waitInSync(t)
			if err := target.RestartAfter(t.Context(), files(t, `cp -a "$0" "$0.old"`)); err != nil {
				t.Fatal(err)
			}
			r.waitInSync(t)
			execute(t, p.source, `INSERT INTO a SELECT generate_series(1, 100)`)
			r.waitFor(t, "the rows are there", func(progress.Progress) bool { return query(t, p.target, `SELECT count(*)::text FROM a`) == "100" })
			if command != "" {
				r.waitVerified(t)
			}
			time.Sleep(2 * time.Second) // until the source knows
			if err := target.RestartAfter(t.Context(), files(t, `rm -r "$0"; mv "$0.old" "$0"`)); err != nil {
				t.Fatal(err)
			}
			wantFailure(t, r.ended(t), failure.TargetReplaced, "put back to an earlier state")
		})
	}
}

// Trap 77: the same by configuration: a service key of another database.
func TestAMigrationStartsNowhereWithoutItsLedger(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitInSync(t)
	r.stop()
	_ = r.ended(t)
	other := newPair(t)
	p.target = other.target
	p.migration.Epoch++
	wantFailure(t, p.run(t).ended(t), failure.TargetReplaced, "leads to another database")
	if tables := query(t, p.target, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace`); tables != "" {
		t.Errorf("the other database has %s", tables)
	}
}
