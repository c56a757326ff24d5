package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
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
		started := time.Now()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started); took > 4*time.Second {
			t.Errorf("a write took %v", took)
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
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
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
	r.waitFor(t, "one table is copied and the other one is not", func(p engine.Progress) bool {
		return len(p.Tables) == 2 && p.Tables[0].Phase == engine.TableCopying && p.Tables[1].RowsCopied == 10000 && p.Tables[1].Phase != engine.TableCopying
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
