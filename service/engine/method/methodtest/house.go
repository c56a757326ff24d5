package methodtest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/build"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/transfer"
)

const (
	sourceMajor = 15
	targetMajor = 18
	// wait bounds everything that a method is waited for.
	wait = 30 * time.Second
)

// house is a migration between two real databases, driven step by step as the machine would.
type house struct {
	t              *testing.T
	name           ledger.Method
	open           Make
	source, target postgres.Login
	job            *job.Job
	before         string // the source's state
}

// tables are of all kinds that a method treats in its own way: with a key, without one, and unlogged.
const tables = `
CREATE TABLE keyed (id int PRIMARY KEY, v text);
CREATE TABLE keyless (v text);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, v text);
INSERT INTO keyed SELECT i, 'before' FROM generate_series(1, 100) AS i;
INSERT INTO keyless SELECT 'before ' || i FROM generate_series(1, 100) AS i;
INSERT INTO unlogged VALUES (1, 'before')`

func newHouse(t *testing.T, name ledger.Method, open Make) *house {
	t.Helper()
	h := &house{
		t: t, name: name, open: open,
		source: postgres.ForTest(t, sourceMajor).NewDatabase(t, true),
		target: postgres.ForTest(t, targetMajor).NewDatabase(t, false),
	}
	h.execute(tables)
	h.before = h.sourceState()
	h.job = h.newJob(fmt.Sprintf("%08x", rand.Uint32()), 1)
	return h
}

// newJob gives the migration to a worker of that epoch.
func (h *house) newJob(id string, epoch int64) *job.Job {
	h.t.Helper()
	settings := job.Defaults()
	settings.Beat = 50 * time.Millisecond
	var err error
	if settings.PgDump, err = postgres.PgDump(h.t.Context()); err == nil {
		settings.PgRestore, err = postgres.PgRestore(h.t.Context())
	}
	h.must(err)
	log := slog.New(slog.NewTextHandler(h.t.Output(), nil))
	next := map[ledger.Stage][]ledger.Stage{
		ledger.StageNone: {ledger.StageSchema}, ledger.StageSchema: {ledger.StageCopying}, ledger.StageCopying: {ledger.StageStream},
	}
	return &job.Job{
		ID: id, Epoch: epoch, Settings: settings, Log: log,
		Ledger:   ledger.Ledger{Migration: id, Epoch: epoch, Next: next},
		Progress: progress.New(log),
		Databases: func(context.Context) (source, target database.Database, err error) {
			return reach(h.source), reach(h.target), nil
		},
	}
}

func reach(l postgres.Login) database.Database {
	return database.Database{Host: l.Host, Port: l.Port, Name: l.Database, User: l.User, Password: l.Password, TLS: database.TLS{Mode: database.TLSDisable}}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// attempt opens sessions and gives the method by them.
func (h *house) attempt() (job.Sides, method.Method) {
	h.t.Helper()
	source, target, err := h.job.Endpoints(h.t.Context())
	h.must(err)
	s := job.Sides{Source: job.Side{Endpoint: source}, Target: job.Side{Endpoint: target}}
	for _, side := range []*job.Side{&s.Source, &s.Target} {
		conn, err := side.Endpoint.Connect(h.t.Context())
		h.must(err)
		h.t.Cleanup(func() { database.Close(context.Background(), conn) })
		side.Conn = conn
	}
	h.must(h.job.Capture(s.Source.Conn).TakeOver(h.t.Context()))
	return s, h.open(h.job, s)
}

// begin takes the migration to a target that holds all that is copied before the stream. between is called when the first
// snapshot is taken.
func (h *house) begin(between func()) (job.Sides, method.Method) {
	h.t.Helper()
	ctx := h.t.Context()
	s, m := h.attempt()
	h.must(m.Prepare(ctx))
	anchor, err := m.Anchor(ctx)
	h.must(err)
	defer anchor.Close(ctx)
	between()
	h.must(build.Record(ctx, h.job, s, h.name, "a test", anchor))
	h.must(build.BeforeData(ctx, h.job, s))
	h.must(h.job.Ledger.SetStage(ctx, s.Target.Conn, ledger.StageSchema, ledger.StageCopying))
	h.must(h.job.ReadTables(ctx, s, false))
	if !m.Deferred() {
		h.job.Progress.SnapshotTaken(anchor.Tables)
		h.must(m.While(ctx, func(ctx context.Context) error {
			return transfer.Tables(ctx, h.job, s, transfer.Order{Keeper: anchor.Keeper, OIDs: h.chosen(func(t progress.Table) bool { return !t.Deferred })})
		}))
	}
	h.must(h.job.Ledger.SetStage(ctx, s.Target.Conn, ledger.StageCopying, ledger.StageStream))
	return s, m
}

// chosen gives the OIDs of the tables that are chosen.
func (h *house) chosen(choose func(progress.Table) bool) (oids []uint32) {
	for _, t := range h.job.Progress.Tables() {
		if choose(t) {
			oids = append(oids, t.Catalog.OID)
		}
	}
	return oids
}

// follow begins to carry changes.
func (h *house) follow(m method.Method) method.Following {
	h.t.Helper()
	f, err := m.Follow(h.t.Context())
	h.must(err)
	h.t.Cleanup(func() { _ = f.Stop() })
	return f
}

// drain does what a cutover does when nobody writes any more: everything is brought over, and what is deferred is copied.
func (h *house) drain(s job.Sides, f method.Following) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), wait)
	defer cancel()
	h.must(f.Drain(ctx, s.Source.Conn))
	h.must(f.Stop())
	now, err := snapshot.Now(ctx, s.Source.Endpoint.Connect)
	h.must(err)
	defer now.Close(ctx)
	h.job.Progress.SnapshotTaken(now.Tables)
	h.must(transfer.Tables(ctx, h.job, s, transfer.Order{Keeper: now.Keeper, OIDs: h.chosen(func(t progress.Table) bool { return t.Deferred })}))
}

// wantEqual compares the tables row by row, in a way that no method knows of.
func (h *house) wantEqual() {
	h.t.Helper()
	const rows = `
SELECT 'keyed ' || id || ' ' || v FROM keyed
UNION ALL SELECT 'keyless ' || v FROM keyless
UNION ALL SELECT 'unlogged ' || id || ' ' || v FROM unlogged
ORDER BY 1`
	if source, target := h.query(h.source, rows), h.query(h.target, rows); source != target {
		h.t.Errorf("the source holds\n%s\nand the target\n%s", source, target)
	}
}

// sourceState is all that a method may leave behind on the source.
func (h *house) sourceState() string {
	h.t.Helper()
	return h.query(h.source, `
SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'identity ' || c.relname || ' ' || relreplident::text
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname = 'public'
ORDER BY 1`)
}

func (h *house) execute(sql string) {
	h.t.Helper()
	conn, err := pgx.Connect(h.t.Context(), h.source.URL())
	h.must(err)
	defer database.Close(h.t.Context(), conn)
	_, err = conn.Exec(h.t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	h.must(err)
}

func (h *house) query(from postgres.Login, sql string) string {
	h.t.Helper()
	conn, err := pgx.Connect(h.t.Context(), from.URL())
	h.must(err)
	defer database.Close(h.t.Context(), conn)
	rows, err := conn.Query(h.t.Context(), sql)
	h.must(err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	h.must(err)
	return strings.Join(lines, "\n")
}
