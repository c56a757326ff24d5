package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
)

// Trap 41: WAL that the source has removed ends the replication, by name.
//
// TestWALIsWatchedDuringTheCopy holds a copy while the source writes more and more WAL that nobody fetches.
func TestWALIsWatchedDuringTheCopy(t *testing.T) {
	t.Parallel()
	cluster, err := postgres.Start(t.Context(), postgres.Options{Major: sourceMajor, Settings: map[string]string{
		"max_slot_wal_keep_size": "64MB", "min_wal_size": "32MB", "max_wal_size": "64MB",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	p := newPair(t)
	if p.source, err = cluster.CreateOwnerDatabase(t.Context(), "walled", true); err != nil {
		t.Fatal(err)
	}
	execute(t, p.source, `CREATE TABLE held (id int PRIMARY KEY); INSERT INTO held VALUES (1); CREATE TABLE noise (filler text)`)
	r := p.run(t)
	// A lock that the copy waits for: on the table itself, as soon as it is there.
	holder := connect(t, p.target.URL())
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	hold(t, tx)

	admin := connect(t, cluster.URL("walled"))
	write := func() {
		for _, sql := range []string{`INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 12000)`, `CHECKPOINT`} {
			if _, err := admin.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	warned := func() bool {
		return strings.Contains(strings.Join(r.Progress().Warnings, "\n"), "more than half of the 64 MB of WAL")
	}
	for deadline := time.Now().Add(30 * time.Second); !warned(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no warning")
		}
		if kept(t, admin) < 40<<20 {
			write()
		}
	}
	for kept(t, admin) < 130<<20 && kept(t, admin) > 0 {
		write()
	}
	wantFailure(t, r.ended(t), failure.SlotLost, "max_slot_wal_keep_size")
}

// hold locks the table once the migration has created it on the target.
func hold(t *testing.T, tx pgx.Tx) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		var exists bool
		if err := tx.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'held')`).Scan(&exists); err != nil {
			t.Fatal(err)
		}
		if exists {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the table does not come")
		}
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE public.held IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
}

// kept gives the bytes of WAL that the source keeps for slots, 0 when it has let go of them.
func kept(t *testing.T, conn *pgx.Conn) (bytes int64) {
	t.Helper()
	const sql = `SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)), 0)::bigint FROM pg_replication_slots`
	if err := conn.QueryRow(t.Context(), sql).Scan(&bytes); err != nil {
		t.Fatal(err)
	}
	return bytes
}
