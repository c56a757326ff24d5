package capture_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// database is a source with a migration of its own, whose id is the database's: no two share a slot of the server.
type database struct {
	postgres.Login
	capture.Source
}

func newDatabase(t *testing.T, major int, sql string) database {
	t.Helper()
	login := postgres.ForTest(t, major).NewDatabase(t, true)
	d := database{Login: login, Source: capture.Source{ID: strings.TrimPrefix(login.Database, "test_"), Conn: connect(t, login.URL())}}
	execute(t, d.Conn, sql)
	return d
}

// connect opens a session as the engine does.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.RuntimeParams["search_path"] = `""`
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// replicate opens a session for replication.
func replicate(ctx context.Context, url string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["replication"] = "database"
	return pgconn.ConnectConfig(ctx, config)
}

func (d database) replicate(ctx context.Context) (*pgconn.PgConn, error) {
	return replicate(ctx, d.URL())
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

func tables(t *testing.T, conn *pgx.Conn) []catalog.Table {
	t.Helper()
	found, err := catalog.Tables(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (d database) prepare(t *testing.T) {
	t.Helper()
	if err := d.Prepare(t.Context(), tables(t, d.Conn)); err != nil {
		t.Fatal(err)
	}
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
