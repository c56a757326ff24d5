package fence_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// source is a database with our records, a fence of its own and a session of ours.
type source struct {
	postgres.Login
	fence.Fence
	cluster *postgres.Cluster
	conn    *pgx.Conn
}

func newSource(t *testing.T, major int, sql string) *source {
	t.Helper()
	cluster := postgres.ForTest(t, major)
	return openSource(t, cluster, cluster.NewDatabase(t, false), sql)
}

// openSource is newSource for a database that is there already.
func openSource(t *testing.T, cluster *postgres.Cluster, login postgres.Login, sql string) *source {
	t.Helper()
	s := &source{Login: login, cluster: cluster, conn: connect(t, login.URL(), "pgmig test")}
	s.Fence = fence.Fence{Source: capture.Source{ID: "test"}, Dial: func(ctx context.Context) (*pgx.Conn, error) {
		return dial(ctx, login.URL(), "pgmig test")
	}}
	t.Cleanup(func() { s.Release(context.Background()) })
	execute(t, s.conn, sql)
	if err := (capture.Source{ID: "test", Conn: s.conn}).PrepareRecords(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func dial(ctx context.Context, url, application string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.RuntimeParams["application_name"] = application
	if strings.HasPrefix(application, "pgmig") { // as the engine does
		config.RuntimeParams["search_path"] = `""`
		config.RuntimeParams["default_transaction_read_only"] = "off"
	}
	return pgx.ConnectConfig(ctx, config)
}

func connect(t *testing.T, url, application string) *pgx.Conn {
	t.Helper()
	conn, err := dial(t.Context(), url, application)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// app opens a session of the application.
func (s *source) app(t *testing.T) *pgx.Conn {
	t.Helper()
	return connect(t, s.URL(), "app")
}

// stranger opens a session that the login of ours may not end.
func (s *source) stranger(t *testing.T) *pgx.Conn {
	t.Helper()
	return connect(t, s.cluster.URL(s.Database), "stranger")
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// query gives the first column of all rows, a line each.
func query(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// names gives what is to be locked, in the order of the engine.
func (s *source) names(t *testing.T) (locked fence.Tables) {
	t.Helper()
	var err error
	if locked.Parents, err = catalog.Parents(t.Context(), s.conn); err != nil {
		t.Fatal(err)
	}
	tables, err := catalog.Tables(t.Context(), s.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		locked.Rows = append(locked.Rows, table.SQLName())
	}
	return locked
}

// raise locks everything.
func (s *source) raise(t *testing.T) {
	t.Helper()
	if err := s.CreateRefusal(t.Context(), s.conn); err != nil {
		t.Fatal(err)
	}
	if err := s.Lock(t.Context(), s.conn, s.names(t), time.Second); err != nil {
		t.Fatal(err)
	}
}

// harden raises the fence and lets the triggers stand.
func (s *source) harden(t *testing.T) {
	t.Helper()
	s.raise(t)
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Harden(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Release(t.Context())
}

func (s *source) lift(t *testing.T) {
	t.Helper()
	for range 2 {
		if err := s.Lift(t.Context(), s.conn); err != nil {
			t.Fatal(err)
		}
	}
}

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// within waits until something is so, for ten seconds at most.
func within(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came about: %s", what)
		}
	}
}
