package stream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/socket"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

const (
	sourceMajor = 15
	targetMajor = 18

	patience = 2 * time.Minute
)

// route is a slot of a source and a target that has the same tables with the same rows.
type route struct {
	id             string
	source, target *pgx.Conn
	sourceURL      string
	targetURL      string
	capture        capture.Source
	tables         []catalog.Table
	point          pglogrepl.LSN
}

// newRoute runs the schema on both sides and opens the slot.
func newRoute(t testing.TB, schema string) *route {
	t.Helper()
	return newRouteOf(t, schema, schema)
}

func newRouteOf(t testing.TB, sourceSchema, targetSchema string) *route {
	t.Helper()
	return newRouteTo(t, postgres.ForTest(t, targetMajor).NewDatabase(t, false).URL(), sourceSchema, targetSchema)
}

func newRouteTo(t testing.TB, target, sourceSchema, targetSchema string) *route {
	t.Helper()
	source := postgres.ForTest(t, sourceMajor).NewDatabase(t, true).URL()
	r := &route{source: connect(t, source), target: connect(t, target), sourceURL: source, targetURL: target}
	r.exec(t, r.source, sourceSchema)
	r.exec(t, r.target, targetSchema)
	identities, err := catalog.AlwaysIdentities(t.Context(), r.target)
	if err != nil {
		t.Fatal(err)
	}
	for _, column := range identities {
		if err := column.SetGenerated(t.Context(), r.target, "BY DEFAULT"); err != nil {
			t.Fatal(err)
		}
	}
	r.open(t)
	return r
}

// open publishes the source's tables and opens the slot and the ledger.
func (r *route) open(t testing.TB) {
	t.Helper()
	var err error
	r.id = fmt.Sprintf("%08x", rand.Uint32())
	if r.tables, err = catalog.Tables(t.Context(), r.source); err != nil {
		t.Fatal(err)
	}
	r.capture = capture.Source{ID: r.id, Conn: r.source}
	if err := r.capture.Prepare(t.Context(), r.tables); err != nil {
		t.Fatal(err)
	}
	replication := r.connectReplication(t)
	point, err := capture.CreateSlot(t.Context(), replication, r.id)
	if err != nil {
		t.Fatal(err)
	}
	_ = replication.Close(t.Context())
	r.point = point.LSN
	err = pgx.BeginFunc(t.Context(), r.target, func(tx pgx.Tx) error {
		return ledger.Ledger{Migration: r.id, Epoch: 1}.Create(t.Context(), tx, ledger.Start{Tables: r.tables})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// connect opens a session as the engine does.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"client_encoding": "UTF8", "DateStyle": "ISO", "IntervalStyle": "postgres", "TimeZone": "UTC", "extra_float_digits": "3",
		"bytea_output": "hex", "lc_monetary": "C", "search_path": `""`, "synchronous_commit": "on",
	} {
		config.RuntimeParams[name] = value
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	socket.Prepare(&config.Config)
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (r *route) connectReplication(t testing.TB) *pgconn.PgConn {
	t.Helper()
	conn, err := r.dialReplication(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (r *route) dialReplication(ctx context.Context) (*pgconn.PgConn, error) {
	config := r.source.Config().Config.Copy()
	config.RuntimeParams["replication"] = "database"
	return pgconn.ConnectConfig(ctx, config)
}

func (r *route) exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "SET search_path = public;"+sql+";SET search_path = ''", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%.300s: %v", sql, err)
	}
}

func lines(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%.300s: %v", sql, err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%.300s: %v", sql, err)
	}
	return strings.Join(texts, "\n")
}

// planSQL is what the engine sets for the session that applies.
const planSQL = `
SELECT pg_catalog.set_config(name, CASE name WHEN 'plan_cache_mode' THEN 'force_generic_plan' ELSE 'off' END, false)
FROM pg_catalog.pg_settings
WHERE name IN ('enable_seqscan', 'enable_bitmapscan', 'plan_cache_mode')`

// running is an Apply at work.
type running struct {
	*stream.Apply
	counts map[string]*stream.Counts
	stop   context.CancelFunc
	result chan error
}

// run starts an Apply, from where the ledger says.
func (r *route) run(t testing.TB) *running {
	t.Helper()
	progress, err := ledger.Ledger{Migration: r.id, Epoch: 1}.TakeOver(t.Context(), r.target)
	if err != nil {
		t.Fatal(err)
	}
	a := &running{
		Apply:  &stream.Apply{Slot: capture.Slot(r.id), Migration: r.id, Epoch: 1, Tables: map[uint32]stream.Table{}, Commit: progress.Commit},
		counts: map[string]*stream.Counts{},
		result: make(chan error, 1),
	}
	if err := r.source.QueryRow(t.Context(), "SELECT to_regclass($1)::oid", capture.Schema(r.id)+"."+capture.BeatTable).Scan(&a.Beat); err != nil {
		t.Fatal(err)
	}
	for _, table := range r.tables {
		a.counts[table.Name] = &stream.Counts{}
		a.Tables[table.OID] = stream.Table{Catalog: table, From: r.point, Counts: a.counts[table.Name]}
	}
	replication, target := r.connectReplication(t), connect(t, r.targetURL)
	if _, err := target.Exec(t.Context(), planSQL); err != nil {
		t.Fatal(err)
	}
	a.Reader = connect(t, r.targetURL).PgConn()
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		err := a.Run(ctx, replication, target.PgConn())
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = replication.Close(closing)
		_ = target.Close(closing)
		a.result <- err
	}()
	t.Cleanup(func() { stop(); <-gone }) // before the sessions are closed
	return a
}

// ended stops the Apply and gives its error, nil if it was fine until then.
func (a *running) ended(t testing.TB) error {
	t.Helper()
	a.stop()
	select {
	case err := <-a.result:
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	case <-time.After(patience):
		t.Fatal("the apply does not end")
		return nil
	}
}

// drain waits until all that the source has committed is on the target.
func (r *route) drain(t testing.TB, a *running) {
	t.Helper()
	nonce, err := r.capture.Beat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for a.LastBeat() < nonce {
		select {
		case err := <-a.result:
			t.Fatalf("the apply has ended: %v", err)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("the target does not catch up")
		}
	}
}

// checkEqual compares the rows of all tables, in their text form.
func (r *route) checkEqual(t testing.TB) {
	t.Helper()
	for _, table := range r.tables {
		names := []string{"''"}
		for _, c := range table.Columns {
			names = append(names, pgx.Identifier{c.Name}.Sanitize())
		}
		sql := "SELECT r FROM (SELECT ROW(" + strings.Join(names, ", ") + ")::text AS r FROM ONLY " + table.SQLName() + `) AS x ORDER BY r COLLATE "C"`
		want, got := lines(t, r.source, sql), lines(t, r.target, sql)
		if want != got {
			t.Errorf("table %s has on the source\n%.2000s\nand on the target\n%.2000s", table, want, got)
		}
	}
}
