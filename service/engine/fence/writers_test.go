package fence_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
)

const patience = 300 * time.Millisecond

// Whoever has written something anywhere in the database is ended or waited for, without being known by a table.
func TestWritersAreEndedOrAwaited(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, `CREATE TABLE public.written (id int)`)
	elsewhere := connect(t, s.cluster.URL("postgres"), "stranger")
	sessions := map[string]*pgx.Conn{
		"reader": s.app(t), "idle": s.app(t), "ours": connect(t, s.URL(), "pgmig other"), "own": s.app(t), "stranger": s.stranger(t), "elsewhere": elsewhere,
	}
	execute(t, sessions["reader"], `BEGIN; SELECT FROM public.written`)
	execute(t, elsewhere, `BEGIN; SELECT lo_create(0)`)
	execute(t, sessions["ours"], `BEGIN; SELECT lo_create(0)`)
	if err := s.AwaitWriters(t.Context(), s.conn, 0); err != nil {
		t.Fatalf("nobody writes: %v", err)
	}
	execute(t, sessions["own"], `BEGIN; SELECT lo_create(0)`)
	execute(t, sessions["stranger"], `BEGIN; SELECT lo_create(4711)`)
	err := s.AwaitWriters(t.Context(), s.conn, patience)
	var blocked *fence.BlockedError
	if !errors.As(err, &blocked) || len(blocked.Sessions) != 1 {
		t.Fatalf("somebody writes: %v", err)
	}
	want := fmt.Sprintf(`the source is written to by process %d (application "stranger", user postgres)`, sessions["stranger"].PgConn().PID())
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	checkEnded(t, sessions, "own")

	awaited := make(chan error, 1)
	go func() { awaited <- s.AwaitWriters(t.Context(), s.conn, 10*time.Second) }()
	select {
	case err := <-awaited:
		t.Fatalf("a writer is not awaited: %v", err)
	case <-time.After(patience):
	}
	execute(t, sessions["stranger"], `COMMIT`)
	if err := <-awaited; err != nil {
		t.Fatal(err)
	}
	// Large objects are what this is for.
	if found := query(t, s.conn, `SELECT count(*)::text FROM pg_largeobject_metadata WHERE oid = 4711`); found != "1" {
		t.Error("what was written before cannot be seen afterwards")
	}
	execute(t, sessions["ours"], `ROLLBACK`)
	execute(t, elsewhere, `ROLLBACK`)
}

// Trap 37: a prepared transaction has no session, and is named all the same.
func TestPreparedTransactionsAreAwaited(t *testing.T) {
	t.Parallel()
	s, other := newSource(t, 15, ``), newSource(t, 15, ``)
	for _, s := range []*source{s, other} {
		execute(t, s.app(t), `BEGIN; SELECT lo_create(0); PREPARE TRANSACTION 'of `+s.Database+`'`)
	}
	err := s.AwaitWriters(t.Context(), s.conn, 0)
	if want := "the source is written to by prepared transaction of " + s.Database; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.AwaitWriters(ctx, s.conn, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting that is cancelled gives %v", err)
	}
	s.conn = connect(t, s.URL(), "pgmig test")
	for _, s := range []*source{s, other} {
		execute(t, s.conn, `ROLLBACK PREPARED 'of `+s.Database+`'`)
	}
	if err := s.AwaitWriters(t.Context(), s.conn, 0); err != nil {
		t.Error(err)
	}
}
