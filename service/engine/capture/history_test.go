package capture_test

import (
	"testing"

	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
)

// Trap 40: a server is told from all others.
func TestAServerSaysWhoItIs(t *testing.T) {
	t.Parallel()
	servers := map[capture.History]int{}
	for _, major := range []int{15, 15, 18} {
		d := newDatabase(t, major, ``)
		before := query(t, d.Conn, `SELECT pg_current_wal_flush_lsn()::text`)
		history, flushed, err := capture.Identify(t.Context(), d.connectReplication(t))
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
		t.Errorf("three databases of two servers say %v", servers)
	}
}
