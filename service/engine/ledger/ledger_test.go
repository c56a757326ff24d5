package ledger_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

func connect(t *testing.T, login postgres.Login) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(login.URL())
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // as the engine's sessions
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// worker is the ledger as the worker with an epoch sees it.
func worker(epoch int64) ledger.Ledger { return ledger.Ledger{Migration: "m", Epoch: epoch} }

var (
	start = ledger.Start{
		Method: ledger.Logical, Reason: "it can", History: capture.History{System: "7300000000000000001", Timeline: 3}, DropSQL: "DROP TABLE a;\nDROP TABLE b",
		Tables:      []catalog.Table{{OID: 3000000001, Schema: "public", Name: "plain"}, {OID: 2, Schema: "public", Name: "an \"unlogged\" one", Unlogged: true}, {OID: 3, Schema: "a.b", Name: "zzz"}},
		Fingerprint: catalog.Fingerprint{"table public.plain": "1", "table a.b.zzz": "two\nlines", "": ""},
	}
	pending = []ledger.Table{
		{OID: 3, Schema: "a.b", Name: "zzz"},
		{OID: 2, Schema: "public", Name: "an \"unlogged\" one", Deferred: true},
		{OID: 3000000001, Schema: "public", Name: "plain"},
	}
)

// newLedger makes a target with a ledger of the worker with epoch 1.
func newLedger(t *testing.T, start ledger.Start) (postgres.Login, *pgx.Conn) {
	t.Helper()
	login := postgres.ForTest(t, 18).NewDatabase(t, false)
	conn := connect(t, login)
	in(t, conn, func(tx pgx.Tx) error { return worker(1).Create(t.Context(), tx, start) })
	return login, conn
}

// in does something in a transaction of its own.
func in(t *testing.T, conn *pgx.Conn, do func(pgx.Tx) error) {
	t.Helper()
	if err := pgx.BeginFunc(t.Context(), conn, do); err != nil {
		t.Fatal(err)
	}
}

func takeOver(t *testing.T, conn *pgx.Conn, epoch int64) ledger.Progress {
	t.Helper()
	progress, err := worker(epoch).TakeOver(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return progress
}

func wantTables(t *testing.T, conn *pgx.Conn, want ...ledger.Table) {
	t.Helper()
	if tables, err := worker(1).Tables(t.Context(), conn); err != nil || !slices.Equal(tables, want) {
		t.Errorf("the tables are\n%+v, not\n%+v: %v", tables, want, err)
	}
}

// What a ledger is made with can be read from it, and nothing is done yet.
func TestANewLedger(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, start)
	want := ledger.Progress{Stage: ledger.StageSchema, Method: start.Method, Reason: start.Reason, History: start.History, DropSQL: start.DropSQL}
	if progress := takeOver(t, conn, 1); progress != want {
		t.Errorf("the progress is\n%+v, not\n%+v", progress, want)
	}
	wantTables(t, conn, pending...)
	if fingerprint, err := worker(1).Fingerprint(t.Context(), conn); err != nil || !maps.Equal(fingerprint, start.Fingerprint) {
		t.Errorf("the fingerprint is %v, %v", fingerprint, err)
	}
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return worker(2).Create(t.Context(), tx, start) })
	if err == nil {
		t.Error("the ledger is made twice")
	}
}

// With the offline method all tables are copied in the finalization.
func TestANewLedgerOfAnOfflineMigration(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, ledger.Start{Method: ledger.Offline, Tables: start.Tables})
	if progress := takeOver(t, conn, 1); progress.Method != ledger.Offline || progress.History != (capture.History{}) {
		t.Errorf("the progress is %+v", progress)
	}
	deferred := slices.Clone(pending)
	for i := range deferred {
		deferred[i].Deferred = true
	}
	wantTables(t, conn, deferred...)
}

// Trap 61: nothing is left of the ledger, and nothing else is dropped.
func TestTheLedgerIsDropped(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, start)
	execute(t, conn, `CREATE SCHEMA _pgmig_other; CREATE TABLE public.theirs (id int)`)
	for range 2 {
		if err := worker(1).Drop(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.Query(t.Context(), `SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^_pgmig' UNION ALL SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || strings.Join(left, " ") != "_pgmig_other theirs" {
		t.Errorf("left are %v, %v", left, err)
	}
	if progress := takeOver(t, conn, 1); progress.Stage != ledger.StageNone {
		t.Errorf("the progress is %+v", progress)
	}
}
