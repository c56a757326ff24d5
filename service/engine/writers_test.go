package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
)

// Traps 45 and 46: writers that come back, own everything and set aside the read-only default are kept out by the locks.
// Traps 47 and 48: what they wrote before, without waiting for the disk, is on the target when it opens.
func TestNoAcknowledgedWriteIsLostInTheFinalization(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id bigint PRIMARY KEY); CREATE TABLE b (id bigint)`)
	r := p.run(t)
	r.waitValidated(t)
	var (
		mu           sync.Mutex
		acknowledged []string
		group        sync.WaitGroup
	)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for writer := range 4 {
		group.Go(func() {
			var conn *pgx.Conn
			for n := 0; ctx.Err() == nil; n++ {
				id := writer + 10*n
				var err error
				if conn == nil || conn.IsClosed() {
					if conn, err = pgx.Connect(ctx, p.source.URL()); err != nil {
						continue
					}
					_, _ = conn.Exec(ctx, `SET default_transaction_read_only = off; SET synchronous_commit = off`, pgx.QueryExecModeSimpleProtocol)
				}
				_, err = conn.Exec(ctx, fmt.Sprintf(`INSERT INTO a VALUES (%[1]d); INSERT INTO b VALUES (%[1]d)`, id), pgx.QueryExecModeSimpleProtocol)
				var refused *pgconn.PgError
				switch {
				case err == nil:
					mu.Lock()
					acknowledged = append(acknowledged, strconv.Itoa(id))
					mu.Unlock()
				case errors.As(err, &refused) && refused.Code == "25006" && strings.Contains(refused.Message, "was migrated"):
					_ = conn.Close(context.Background())
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	// The target is behind when the locks stand: what says that it is not any more is our own marker, not a position.
	behind, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := behind.Exec(t.Context(), `LOCK TABLE a IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*time.Second, func() { _ = behind.Rollback(context.Background()) })
	r.finalize(t)
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("the source does not refuse writes after the finalization")
		stop()
		<-done
	}
	slices.Sort(acknowledged)
	if len(acknowledged) < 100 {
		t.Fatalf("only %d writes", len(acknowledged))
	}
	for _, table := range []string{"a", "b"} {
		there := strings.Split(query(t, p.target, `SELECT id::text FROM `+table), "\n")
		slices.Sort(there)
		for _, id := range acknowledged {
			if _, found := slices.BinarySearch(there, id); !found {
				t.Errorf("table %s of the target does not have row %s", table, id)
			}
		}
	}
	t.Logf("%d writes", len(acknowledged))
}

// A script that saw IN-SYNC and asks for the finalization need not know that the target fell behind for a moment since.
func TestAFinalizationWaitsUntilTheTargetHasCaughtUp(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, text text)`)
	r := p.run(t)
	r.waitInSync(t)
	lock, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `LOCK TABLE a IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	execute(t, p.source, `INSERT INTO a SELECT n, repeat('x', 1000) FROM generate_series(1, 4000) AS n`)
	r.waitFor(t, "lag", func(p engine.Progress) bool { return !p.InSync })
	finalized := make(chan error, 1)
	go func() { finalized <- r.Finalize(t.Context(), func(context.Context) error { return nil }) }()
	select {
	case err := <-finalized:
		t.Fatalf("the finalization ended: %v", err)
	case <-time.After(time.Second):
	}
	if steps := r.FinalizationProgress().Steps; len(steps) > 0 {
		t.Errorf("the finalization has begun: %+v", steps)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-finalized; err != nil {
		t.Fatal(err)
	}
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
	if count := query(t, p.target, `SELECT count(*)::text FROM a`); count != "4000" {
		t.Errorf("%s rows are on the target", count)
	}
}

// One burst of changes does not end IN-SYNC, and one quiet moment does not begin it.
func TestInSyncIsALastingState(t *testing.T) {
	t.Parallel()
	r := newEngine(t).NewReplication(engine.Migration{})
	const few, many = 100_000, 10_000_000
	for i, m := range []struct {
		bytes   int64
		seconds float64
		inSync  bool
	}{
		{few, 0, false},
		{few, 0, false},
		{many, 0, false},
		{few, 0, false},
		{few, 0, false},
		{few, 0, true},
		{many, 0, true},
		{many, 0, true},
		{few, 0, true},
		{many, 0, true},
		{few, 6, true},
		{many, 6, false},
		{few, 0, false},
	} {
		if inSync := r.Measured(m.bytes, m.seconds); inSync != m.inSync {
			t.Errorf("measurement %d: in sync: %v, want %v", i, inSync, m.inSync)
		}
	}
}
