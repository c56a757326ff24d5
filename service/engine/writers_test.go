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
)

// Traps 45 and 46: writers that come back, own everything and set aside the read-only default are kept out by the locks.
// Traps 47 and 48: what they wrote before, without waiting for the disk, is on the target when it opens.
func TestNoAcknowledgedWriteIsLostInTheFinalization(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id bigint PRIMARY KEY); CREATE TABLE b (id bigint)`)
	r := p.run(t)
	r.waitVerified(t)
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
