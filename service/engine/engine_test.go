package engine_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

func TestMain(m *testing.M) {
	if doomed := os.Getenv(doomedVariable); doomed != "" {
		work(doomed)
	}
	os.Exit(postgres.Main(m))
}

const (
	sourceMajor = 15
	targetMajor = 18
)

// pair is a migration between two real databases, as plain owner logins.
type pair struct {
	source, target postgres.Login
	engine         *engine.Engine
	migration      engine.Migration
}

func newPair(t *testing.T) *pair {
	t.Helper()
	return newPairOf(t, sourceMajor, targetMajor)
}

var replicaRole = flag.Bool("replica-role", false, "the targets' logins may set session_replication_role, from 15 on")

func newPairOf(t *testing.T, source, target int) *pair {
	t.Helper()
	p := &pair{
		source: postgres.ForTest(t, source).NewDatabase(t, true),
		target: postgres.ForTest(t, target).NewDatabase(t, false),
		engine: newEngine(t),
	}
	if *replicaRole && target >= 15 {
		grantReplicaRole(t, postgres.ForTest(t, target), p.target.User)
		execute(t, p.target, `SET session_replication_role = replica`) // or the run proves nothing
	}
	p.migration = engine.Migration{
		ID:    fmt.Sprintf("%08x", rand.Uint32()),
		Epoch: 1,
		Databases: func(context.Context) (database.Database, database.Database, error) {
			return databaseOf(p.source), databaseOf(p.target), nil
		},
	}
	return p
}

// grantReplicaRole lets a login switch off triggers and foreign keys in its sessions, as some providers do.
func grantReplicaRole(t *testing.T, cluster *postgres.Cluster, login string) {
	t.Helper()
	if err := cluster.Exec(t.Context(), "postgres", "GRANT SET ON PARAMETER session_replication_role TO "+pgx.Identifier{login}.Sanitize()); err != nil {
		t.Fatal(err)
	}
}

func newEngine(t *testing.T) *engine.Engine {
	t.Helper()
	settings := engine.Defaults()
	var err error
	if settings.PgDump, err = postgres.PgDump(t.Context()); err != nil {
		t.Fatal(err)
	}
	if settings.PgRestore, err = postgres.PgRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	settings.Beat = 100 * time.Millisecond
	settings.FenceWait = 5 * time.Second
	settings.VerifyWait = 2 * time.Second
	return &engine.Engine{Settings: settings, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

func databaseOf(l postgres.Login) database.Database {
	return database.Database{Host: l.Host, Port: l.Port, Name: l.Database, User: l.User, Password: l.Password, TLS: database.TLS{Mode: database.TLSDisable}}
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t testing.TB, l postgres.Login, sql string) {
	t.Helper()
	conn := connect(t, l.URL())
	if _, err := conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
	_ = conn.Close(context.Background())
}

func query(t testing.TB, l postgres.Login, sql string) string {
	t.Helper()
	conn := connect(t, l.URL())
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
	var lines []string
	for _, text := range texts {
		if text == nil {
			lines = append(lines, "NULL")
			continue
		}
		lines = append(lines, *text)
	}
	return strings.Join(lines, "\n")
}

// running is a Replication at work.
type running struct {
	*engine.Replication
	stop   context.CancelFunc
	result chan error
}

func (p *pair) run(t *testing.T) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Replication: p.engine.NewReplication(p.migration), stop: stop, result: make(chan error, 1)}
	go func() { r.result <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-r.result:
		case <-time.After(30 * time.Second):
			t.Error("the replication did not stop")
		}
	})
	return r
}

// ended waits for Run's result.
func (r *running) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.result:
		r.result <- err
		return err
	case <-time.After(time.Minute):
		t.Fatalf("the replication goes on: %+v", r.Progress())
		return nil
	}
}

func (r *running) waitInSync(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !r.Progress().InSync {
		select {
		case err := <-r.result:
			r.result <- err
			t.Fatalf("the replication ended: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in sync: %+v", r.Progress())
		}
	}
}

func (r *running) finalize(t *testing.T) {
	t.Helper()
	opened := false
	err := r.Finalize(t.Context(), func(context.Context) error { opened = true; return nil })
	if err != nil {
		t.Fatalf("finalization: %v (%+v)", err, r.FinalizationProgress())
	}
	if !opened {
		t.Error("the opening was not reported")
	}
	if err := r.ended(t); err != nil {
		t.Errorf("the replication ended with %v", err)
	}
}

var randomKey = regexp.MustCompile(`(?m)^\\(un)?restrict .*$|^-- Dumped (from|by) .*$`)

// dumpSchema is the oracle for the schema: pg_dump's own text.
func dumpSchema(t *testing.T, l postgres.Login) string {
	t.Helper()
	program, err := postgres.PgDump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--schema-only", "--no-owner", "--no-acl", "--no-publications", "--dbname="+l.URL())
	var warnings strings.Builder
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v\n%s", err, warnings.String())
	}
	return withoutServersOptions(randomKey.ReplaceAllString(string(out), ""))
}

// sameMajor gives a database on the target's server with the schema of the source, because servers of different majors write
// the same view differently.
func (p *pair) sameMajor(t *testing.T) postgres.Login {
	t.Helper()
	login := postgres.ForTest(t, targetMajor).NewDatabase(t, false)
	statements := strings.ReplaceAll(dumpSchema(t, p.source), "SET transaction_timeout = 0;", "")
	execute(t, login, statements)
	return login
}

const allTables = `
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1`

// checkEqual is the oracle for the whole database: the schema as pg_dump writes it, every row as text, sorted, and every
// sequence.
func (p *pair) checkEqual(t *testing.T) {
	t.Helper()
	if source, target := dumpSchema(t, p.sameMajor(t)), dumpSchema(t, p.target); source != target {
		t.Errorf("the schemas differ:\n%s", diff(source, target))
	}
	tables := strings.Split(query(t, p.source, allTables), "\n")
	if there := query(t, p.target, allTables); there != strings.Join(tables, "\n") {
		t.Fatalf("tables of the source %v, of the target %v", tables, there)
	}
	if len(tables) < 2 {
		t.Fatalf("only %d tables to compare", len(tables))
	}
	for _, table := range tables {
		sql := "SELECT x::text FROM ONLY " + table + " AS x ORDER BY x::text COLLATE \"C\""
		if strings.HasSuffix(table, "_view") {
			sql = "SELECT x::text FROM " + table + " AS x ORDER BY x::text COLLATE \"C\""
		}
		if source, target := query(t, p.source, sql), query(t, p.target, sql); source != target {
			t.Errorf("table %s differs:\n%s", table, diff(source, target))
		}
	}
	const sequences = `SELECT schemaname || '.' || sequencename || ' ' || coalesce(last_value, -1) FROM pg_sequences ORDER BY 1`
	if source, target := query(t, p.source, sequences), query(t, p.target, sequences); source != target {
		t.Errorf("the sequences differ:\n%s", diff(source, target))
	}
}

// diff gives the lines that one side has more often than the other, some of them, shortened.
func diff(a, b string) string {
	surplus := map[string]int{}
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, line := range left {
		surplus[line]++
	}
	for _, line := range right {
		surplus[line]--
	}
	const shown, width = 20, 500
	var out []string
	for _, line := range slices.Concat(left, right) {
		if n := surplus[line]; n > 0 {
			out = append(out, fmt.Sprintf("source: %.*s", width, line))
		} else if n < 0 {
			out = append(out, fmt.Sprintf("target: %.*s", width, line))
		}
		delete(surplus, line)
	}
	slices.Sort(out)
	if len(out) > shown {
		out = append(out[:shown], fmt.Sprintf("… and %d more", len(out)-shown))
	}
	return strings.Join(out, "\n")
}

// sourceState is all that a migration may change on the source.
func (p *pair) sourceState(t *testing.T) string {
	t.Helper()
	return query(t, p.source, `
SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL SELECT 'setting ' || setconfig::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()
UNION ALL SELECT 'identity ' || oid::regclass || ' ' || relreplident::text FROM pg_class WHERE relkind = 'r' AND oid >= 16384
UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1`)
}

// writers change the source until stop is called; acknowledged counts their commits.
type writers struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
	mu     sync.Mutex
	done   int
	failed error
}

func (p *pair) startWriters(t *testing.T, n int, write func(ctx context.Context, conn *pgx.Conn, random *rand.Rand) error) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{cancel: cancel}
	for i := range n {
		conn := connect(t, p.source.URL())
		w.group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for ctx.Err() == nil {
				// A commit under way is finished, so that its outcome is known.
				err := write(context.WithoutCancel(ctx), conn, random)
				w.mu.Lock()
				if err != nil && w.failed == nil {
					w.failed = err
				}
				w.done++
				w.mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	t.Cleanup(func() { w.stop(t) })
	return w
}

func (w *writers) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	w.group.Wait()
	if w.failed != nil {
		t.Errorf("a writer failed: %v", w.failed)
		w.failed = nil
	}
}

func shop(rows int) string {
	return strings.ReplaceAll(shopSQL, "{rows}", strconv.Itoa(rows))
}
