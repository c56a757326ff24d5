package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// startSource starts a server of its own as the source, which the test may replace.
func (p *pair) startSource(t *testing.T) *postgres.Cluster {
	t.Helper()
	c, err := postgres.Start(t.Context(), postgres.Options{Major: sourceMajor, Settings: map[string]string{"min_wal_size": "32MB"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	if p.source, err = c.CreateOwnerDatabase(t.Context(), "app", true); err != nil {
		t.Fatal(err)
	}
	return c
}

// files gives what runs a command on a server's folder, written as $0, while the server is down.
func files(t *testing.T, command string) func(string) error {
	return func(dataDir string) error {
		out, err := exec.CommandContext(t.Context(), "sh", "-ec", command, dataDir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

// Trap 40: a source that is put back into an earlier state has its slot still, and gives positions to new transactions that the
// target takes for applied. A source that continues on another timeline may be the same, but nobody knows.
func TestASourceThatIsPutBackIsNamed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	source := p.startSource(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE filler (t text)`)
	r := p.run(t)
	r.waitInSync(t)
	if err := source.RestartAfter(t.Context(), files(t, `cp -a "$0" "$0.old"`)); err != nil {
		t.Fatal(err)
	}
	// A restart alone is survived.
	execute(t, p.source, `INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 1000); INSERT INTO a VALUES (1)`)
	r.waitFor(t, "the row is there", func(progress.Progress) bool { return query(t, p.target, `SELECT count(*) FROM a`) == "1" })

	if err := source.RestartAfter(t.Context(), files(t, `rm -r "$0"; mv "$0.old" "$0"`)); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, r.ended(t), failure.SourceReplaced, "its WAL ends at")
	// Not even when the source has got beyond the target's position.
	execute(t, p.source, `INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 3000); INSERT INTO a VALUES (2)`)
	p.migration.Epoch++
	wantFailure(t, p.run(t).ended(t), failure.SourceReplaced, "its newest heartbeat is number")

	// The way out that the hint names.
	p.migration.Epoch++
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	p.migration.ID = fmt.Sprintf("%08x", rand.Uint32())
	r = p.run(t)
	r.waitInSync(t)
	if ids := query(t, p.target, `SELECT id::text FROM a`); ids != "2" {
		t.Errorf("the target has the rows %s", ids)
	}
	r.stop()
	_ = r.ended(t)

	// It is read-only for a moment, as a standby is, and ends its recovery by itself.
	recovery := `touch "$0/recovery.signal"; chown --reference="$0" "$0/recovery.signal"; echo "restore_command = 'false'" >> "$0/postgresql.conf"`
	if err := source.RestartAfter(t.Context(), files(t, recovery)); err != nil {
		t.Fatal(err)
	}
	p.migration.Epoch++
	wantFailure(t, p.run(t).ended(t), failure.SourceReplaced, "timeline 2, before 1")
}

// Trap 40: another server with a copy of the schema, and a stream of another server than the one that is fenced.
func TestAnotherSourceIsNamed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	r := p.run(t)
	r.waitInSync(t)
	// The finalization's session reaches a server that knows fewer heartbeats than the target.
	execute(t, p.source, `UPDATE `+pgx.Identifier{"_pgmig_" + p.migration.ID, "beat"}.Sanitize()+` SET nonce = -1000`)
	wantFailure(t, r.Finalize(t.Context(), never), failure.SourceReplaced, "heartbeat")
	execute(t, p.source, `INSERT INTO a VALUES (1)`)
	r.stop()
	_ = r.ended(t)

	p.source = postgres.ForTest(t, targetMajor).NewDatabase(t, true)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	p.migration.Epoch++
	wantFailure(t, p.run(t).ended(t), failure.SourceReplaced, "system identifier")
}

// A migration that an earlier version of the service has begun, without a token on the source and a position in the ledger.
func TestAMigrationOfAnEarlierVersionGoesOn(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (v text)`)
	r := p.run(t)
	r.waitInSync(t)
	r.stop()
	_ = r.ended(t)
	schema := pgx.Identifier{"_pgmig_" + p.migration.ID}.Sanitize()
	execute(t, p.source, `DROP FUNCTION `+schema+`.hold(bigint); DROP TABLE `+schema+`.worker; INSERT INTO a VALUES (1); INSERT INTO b VALUES ('one')`)
	execute(t, p.target, `ALTER TABLE _pgmig.progress DROP COLUMN flushed_lsn`)
	p.migration.Epoch++
	r = p.run(t)
	r.waitVerified(t)
	r.finalize(t)
	p.removeAndCheck(t)
}
