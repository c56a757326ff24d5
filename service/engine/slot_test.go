package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// writing is a write transaction that is left open.
type writing struct {
	pgx.Tx
	xid string
}

func (p *pair) beginWriting(t *testing.T, sql string) writing {
	t.Helper()
	tx, err := connect(t, p.source.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := writing{Tx: tx}
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	if err := tx.QueryRow(t.Context(), `SELECT txid_current()::text`).Scan(&w.xid); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w writing) commit(t *testing.T) {
	t.Helper()
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// awaited waits until the creation of the migration's slot waits for the transaction.
func (p *pair) awaited(t *testing.T, w writing) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	const waiting = `SELECT count(*)::text FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND transactionid::text = '%s' AND query ~ 'pgmig_%s'`
	for query(t, p.source, fmt.Sprintf(waiting, w.xid, p.migration.ID)) == "0" {
		if time.Now().After(deadline) {
			t.Fatal("no slot waits for the transaction")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// truncateWhile truncates a table while create makes a slot, in the order of events after which PostgreSQL (10 to 18) cannot
// decode the transaction that it gives. The TRUNCATE begins and commits while the creation waits for the transactions that it
// has found. PostgreSQL does not see that it changes the catalog. An older transaction is still open, so the snapshots of later
// ones take the TRUNCATE for one that still runs.
func (p *pair) truncateWhile(t *testing.T, create func()) (undecodable writing) {
	t.Helper()
	found := p.beginWriting(t, `INSERT INTO other VALUES (default)`)
	create()
	p.awaited(t, found)
	open := p.beginWriting(t, `INSERT INTO other VALUES (default)`)
	execute(t, p.source, `TRUNCATE emptied`)
	found.commit(t)
	p.awaited(t, open)
	undecodable = p.beginWriting(t, `INSERT INTO emptied VALUES (1)`)
	open.commit(t)
	return undecodable
}

// alone gives databases on servers of their own: a slot waits for the write transactions of the whole server.
func alone(t *testing.T) *pair {
	t.Helper()
	p, _, _ := startServers(t, postgres.Options{})
	execute(t, p.source, `CREATE TABLE emptied (id int PRIMARY KEY); CREATE TABLE other (id serial PRIMARY KEY); INSERT INTO emptied VALUES (4711)`)
	return p
}

// Trap 64: a slot during whose creation a table was truncated is not used.
func TestATableTruncatedWhileTheSlotIsMade(t *testing.T) {
	t.Parallel()
	p := alone(t)
	there, goOn := make(chan struct{}), make(chan struct{})
	reached := sync.OnceFunc(func() { close(there) })
	p.engine.OnReached(func(point string) {
		if point == string(progress.Snapshot) {
			reached()
			<-goOn
		}
	})
	r := p.run(t)
	<-there
	undecodable := p.truncateWhile(t, func() { close(goOn) })
	p.awaited(t, undecodable)
	undecodable.commit(t)
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// Trap 64: PostgreSQL's own fault, with a slot that is not of our making. What the failure says to do helps.
func TestASlotThatPostgreSQLCannotRead(t *testing.T) {
	t.Parallel()
	p := alone(t)
	r := p.run(t)
	r.waitInSync(t)
	r.stop()
	_ = r.ended(t)
	owner := connect(t, p.source.URL())
	if _, err := owner.Exec(t.Context(), `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots`); err != nil {
		t.Fatal(err)
	}
	made := make(chan error, 1)
	undecodable := p.truncateWhile(t, func() {
		go func() {
			_, err := owner.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf(`SELECT pg_create_logical_replication_slot('pgmig_%s', 'pgoutput')`, p.migration.ID))
			made <- err
		}()
	})
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	undecodable.commit(t)
	execute(t, p.target, `UPDATE _pgmig.progress SET flushed_lsn = 'FFFFFFFF/0'`) // or it would be named for what it is: not the slot that we made
	p.migration.Epoch++
	wantFailure(t, p.run(t).ended(t), failure.Undecodable, "could not map filen")
	if err := p.engine.Remove(t.Context(), p.migration, true); err != nil {
		t.Fatal(err)
	}
	p.migration.Epoch++
	r = p.run(t)
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}
