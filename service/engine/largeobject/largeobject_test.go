package largeobject_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// pair is a source and a target with a ledger.
type pair struct {
	largeobject.Sides
	login          postgres.Login // of the target
	source, target *pgx.Conn
}

func newPair(t *testing.T) *pair {
	t.Helper()
	cluster := postgres.ForTest(t, 15)
	from, to := cluster.NewDatabase(t, false), cluster.NewDatabase(t, false)
	l := ledger.Ledger{Migration: "m", Epoch: 1}
	p := &pair{login: to, source: connect(t, from.URL()), target: connect(t, to.URL())}
	p.Sides = largeobject.Sides{
		Source:     func(ctx context.Context) (*pgx.Conn, error) { return dial(ctx, from.URL()) },
		Target:     func(ctx context.Context) (*pgx.Conn, error) { return dial(ctx, to.URL()) },
		CheckEpoch: func(ctx context.Context, tx pgx.Tx) error { return l.CheckEpoch(ctx, tx) },
		Workers:    2,
	}
	if err := pgx.BeginFunc(t.Context(), p.target, func(tx pgx.Tx) error { return l.Create(t.Context(), tx, ledger.Start{}) }); err != nil {
		t.Fatal(err)
	}
	return p
}

// dial opens a session as the engine does.
func dial(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.RuntimeParams["search_path"] = `""`
	return pgx.ConnectConfig(ctx, config)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// superuser opens a session of another owner on the target.
func (p *pair) superuser(t *testing.T) *pgx.Conn {
	t.Helper()
	return connect(t, postgres.ForTest(t, 15).URL(p.login.Database))
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// query gives the first column of all rows, a line each.
func query(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// contents is the oracle: every object with its size and the hash of its whole content.
func contents(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return query(t, conn, `SELECT oid || ' ' || length(lo_get(oid)) || ' ' || md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid`)
}

func (p *pair) copy(t *testing.T) {
	t.Helper()
	if err := p.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *pair) verify(t *testing.T) largeobject.Verification {
	t.Helper()
	v, err := p.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// checkEqual makes sure that both sides hold the same, and that Verify says so.
func (p *pair) checkEqual(t *testing.T, objects int64) {
	t.Helper()
	source, target := contents(t, p.source), contents(t, p.target)
	if source != target {
		t.Errorf("the source holds\n%s\nand the target\n%s", source, target)
	}
	if v := p.verify(t); v.Different != 0 || len(v.Names) != 0 || v.Source != v.Target || v.Source.Objects != objects {
		t.Errorf("the verification says %+v", v)
	}
}

// made gives the transaction that made each object of the target, so that it shows which ones were made anew.
func (p *pair) made(t *testing.T) string {
	t.Helper()
	return query(t, p.target, `SELECT oid || ' ' || xmin FROM pg_largeobject_metadata ORDER BY oid`)
}

func TestExist(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, step := range []struct {
		source, target string
		want           bool
	}{
		{``, ``, false},
		{``, `SELECT lo_create(1)`, false}, // which is the target's own
		{`SELECT lo_create(2)`, ``, true},
		{`SELECT lo_unlink(2)`, `INSERT INTO _pgmig.large_objects VALUES (2)`, true}, // carried, and to be removed
	} {
		execute(t, p.source, step.source)
		execute(t, p.target, step.target)
		if exist, err := largeobject.Exist(t.Context(), p.source, p.target); err != nil || exist != step.want {
			t.Errorf("after %+v: %v, %v", step, exist, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	eleven := []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 4000000000}
	for want, got := range map[string]string{
		"":                  largeobject.Names(nil, 0),
		"1, 2":              largeobject.Names(eleven[:2], 2),
		"9, 10, 4000000000": largeobject.Names(eleven[8:], 3),
		"1, 2, and 5 more":  largeobject.Names(eleven[:2], 7),
		"1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 1 more": largeobject.Names(eleven, 11),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
