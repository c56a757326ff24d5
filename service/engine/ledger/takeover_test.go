package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// Trap 26: the newest worker takes the ledger over, and keeps it. Another migration never does.
func TestTakingOver(t *testing.T) {
	t.Parallel()
	conn := connect(t, postgres.ForTest(t, 18).NewDatabase(t, false))
	if progress := takeOver(t, conn, 1); progress != (ledger.Progress{}) {
		t.Errorf("without a ledger the progress is %+v", progress)
	}
	in(t, conn, func(tx pgx.Tx) error { return worker(1).Create(t.Context(), tx, start) })
	for _, c := range []struct {
		worker ledger.Ledger
		want   error
	}{
		{worker(1), nil},
		{worker(3), nil},
		{worker(3), nil},
		{worker(2), ledger.ErrTakenOver},
		{ledger.Ledger{Migration: "other", Epoch: 4}, ledger.ErrForeign},
		{ledger.Ledger{Migration: "other", Epoch: 1}, ledger.ErrForeign},
		{worker(3), nil},
	} {
		progress, err := c.worker.TakeOver(t.Context(), conn)
		if !errors.Is(err, c.want) || (progress.Stage == ledger.StageSchema) != (c.want == nil) {
			t.Errorf("%+v gets %+v, %v", c.worker, progress, err)
		}
	}
}

// Seen is the newest position that the target shows, be it that of the apply or of a table's copy.
func TestThePositionsOfAProgress(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, start)
	seen := func(commit, seen pglogrepl.LSN) {
		t.Helper()
		if p := takeOver(t, conn, 1); p.Commit != commit || p.Seen != seen {
			t.Errorf("committed is %s, seen %s", p.Commit, p.Seen)
		}
	}
	seen(0, 0)
	for oid, lsn := range map[uint32]pglogrepl.LSN{3: 1<<36 + 1, 3000000001: 5} {
		in(t, conn, func(tx pgx.Tx) error { return worker(1).TableCopied(t.Context(), tx, oid, lsn, 1, 1) })
	}
	seen(0, 1<<36+1)
	execute(t, conn, `UPDATE _pgmig.progress SET commit_lsn = '0/7', beat = 42`) // the apply does so
	seen(7, 1<<36+1)
	execute(t, conn, `UPDATE _pgmig.progress SET commit_lsn = 'FF/FFFFFFFF'`)
	seen(1<<40-1, 1<<40-1)
	if p := takeOver(t, conn, 1); p.Beat != 42 {
		t.Errorf("the newest heartbeat is %d", p.Beat)
	}
}

// Trap 26: a worker that was overtaken changes nothing.
func TestAWorkerThatWasOvertakenChangesNothing(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, start)
	takeOver(t, conn, 2)
	old := worker(1)
	for name, do := range map[string]func(pgx.Tx) error{
		"CheckEpoch":    func(tx pgx.Tx) error { return old.CheckEpoch(t.Context(), tx) },
		"TableCopied":   func(tx pgx.Tx) error { return old.TableCopied(t.Context(), tx, 2, 1, 1, 1) },
		"Rewritten":     func(tx pgx.Tx) error { _, err := old.Rewritten(t.Context(), tx, 2, 1); return err },
		"SchemaCarried": func(tx pgx.Tx) error { return old.SchemaCarried(t.Context(), tx, "", catalog.Fingerprint{}) },
		"another migration's CheckEpoch": func(tx pgx.Tx) error {
			return ledger.Ledger{Migration: "other", Epoch: 2}.CheckEpoch(t.Context(), tx)
		},
	} {
		if err := pgx.BeginFunc(t.Context(), conn, do); !errors.Is(err, ledger.ErrTakenOver) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	wantTables(t, conn, pending...)
	in(t, conn, func(tx pgx.Tx) error { return worker(2).CheckEpoch(t.Context(), tx) })
}

// Trap 26: nobody takes over while a transaction is open that has checked its epoch, and whoever waits for it sees what it did.
func TestATakeoverWaitsForTheTransactionThatCheckedItsEpoch(t *testing.T) {
	t.Parallel()
	login, conn := newLedger(t, start)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := worker(1).CheckEpoch(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	// Several may check at once: each table is copied by a session of its own.
	other := connect(t, login)
	execute(t, other, `SET lock_timeout = '5s'`)
	in(t, other, func(tx pgx.Tx) error { return worker(1).CheckEpoch(t.Context(), tx) })

	taken := make(chan error, 1)
	go func() {
		progress, err := worker(2).TakeOver(t.Context(), other)
		if err == nil && progress.DropSQL != "changed" {
			err = errors.New("what was changed meanwhile is not seen")
		}
		taken <- err
	}()
	observer := connect(t, login)
	for waiting, deadline := 0, time.Now().Add(10*time.Second); waiting == 0; {
		select {
		case err := <-taken:
			t.Fatalf("the ledger is taken over: %v", err)
		default:
		}
		if err := observer.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'`, other.PgConn().PID()).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
	if _, err := tx.Exec(t.Context(), `UPDATE _pgmig.progress SET drop_statements = 'changed'`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if err := worker(1).CheckEpoch(t.Context(), conn); !errors.Is(err, ledger.ErrTakenOver) {
		t.Errorf("the older worker gets %v", err)
	}
}
