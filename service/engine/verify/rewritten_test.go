package verify_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// A TRUNCATE empties a table for older snapshots, too.
func TestATableThatIsTruncatedAfterTheSnapshot(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	open := func(dial database.Dial, sql string) *pgx.Conn {
		conn, err := dial(ctx)
		if err == nil {
			t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctx)) })
			_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		}
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	side := func(major int, after string) (*snapshot.Keeper, database.Dial) {
		login := postgres.ForTest(t, major).NewDatabase(t, false)
		dial := func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, login.URL()) }
		open(dial, `CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied VALUES (1); CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1)`)
		keeper, err := snapshot.KeepCurrent(ctx, open(dial, ""), 0)
		if err != nil {
			t.Fatal(err)
		}
		open(dial, after)
		return keeper, keeper.Dialer(dial)
	}
	for name, after := range map[string][2]string{"source": {`TRUNCATE emptied`, ``}, "target": {``, `TRUNCATE emptied; INSERT INTO emptied VALUES (2)`}} {
		from, source := side(15, after[0])
		_, target := side(18, after[1])
		tables, err := catalog.Tables(ctx, from.Conn())
		if err != nil {
			t.Fatal(err)
		}
		err = verify.Sides{SourceMajor: 15, TargetMajor: 18}.Verify(ctx, source, target, tables, 1, func(r verify.Result) {
			if truncated := r.Table.Name == "emptied"; r.Rewritten != truncated || r.Equal() == truncated {
				t.Errorf("truncated on the %s: table %s gives %+v", name, r.Table, r)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
