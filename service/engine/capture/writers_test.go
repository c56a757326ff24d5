package capture_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// beginWriting leaves a write transaction open.
func beginWriting(t *testing.T, url string) (tx pgx.Tx, xid string) {
	t.Helper()
	tx, err := connect(t, url).Begin(t.Context())
	if err == nil {
		err = tx.QueryRow(t.Context(), `SELECT txid_current()::text`).Scan(&xid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tx, xid
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Trap 4: the write transactions of now are awaited, those of other databases too, and no later ones. A reader is none.
func TestWritersAreAwaited(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, `CREATE TABLE public.read (id int)`)
	observer := connect(t, d.URL())
	execute(t, connect(t, d.URL()), `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM public.read`)
	elsewhere, _ := beginWriting(t, postgres.ForTest(t, 15).URL("postgres"))
	done := make(chan error, 1)
	go func() { done <- d.AwaitWriters(t.Context()) }()
	within(t, "the writers are awaited", func() bool {
		return query(t, observer, `SELECT count(*)::text FROM pg_stat_activity WHERE pid = $1 AND query ~ 'xmin'`, d.Conn.PgConn().PID()) == "1"
	})
	later, _ := beginWriting(t, d.URL())
	select {
	case err := <-done:
		t.Fatalf("a writer is not awaited: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	commit(t, elsewhere)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a later writer is awaited")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := d.AwaitWriters(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a writer that does not end gives %v", err)
	}
	commit(t, later)
}
