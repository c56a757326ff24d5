package capture_test

import (
	"context"
	"testing"

	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
)

// Trap 40: a server is told from all others.
func TestAServerSaysWhoItIs(t *testing.T) {
	t.Parallel()
	servers := map[capture.History]int{}
	for _, major := range []int{15, 15, 18} {
		url := postgres.ForTest(t, major).URL("postgres")
		before := query(t, connect(t, url), `SELECT pg_current_wal_flush_lsn()::text`)
		replication, err := replicate(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = replication.Close(context.Background()) }()
		history, flushed, err := capture.Identify(t.Context(), replication)
		if err != nil {
			t.Fatal(err)
		}
		if history.System == "" || history.Timeline != 1 {
			t.Errorf("PostgreSQL %d says %+v", major, history)
		}
		if lsn, err := pglogrepl.ParseLSN(before); err != nil || flushed < lsn {
			t.Errorf("the WAL ends at %s, after %s: %v", flushed, before, err)
		}
		servers[history]++
	}
	if len(servers) != 2 {
		t.Errorf("three sessions with two servers say %v", servers)
	}
}
