package verify_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

const bothSides = `
CREATE TABLE plain (id int PRIMARY KEY, v text);
INSERT INTO plain SELECT i, 'v' || i FROM generate_series(1, 50000) AS i;
CREATE TABLE composed (a int, "b c" text, v float8, PRIMARY KEY (a, "b c"));
INSERT INTO composed SELECT i % 7, 'b' || i, i / 3.0 FROM generate_series(1, 1000) AS i;
CREATE TABLE worded (word text PRIMARY KEY);
INSERT INTO worded SELECT md5(i::text) FROM generate_series(1, 1000) AS i;
CREATE TABLE keyless (v text);
INSERT INTO keyless SELECT 'v' FROM generate_series(1, 100);
CREATE TABLE emptied (id bigint PRIMARY KEY);
INSERT INTO emptied SELECT generate_series(1, 3000);
CREATE TABLE equal (id int PRIMARY KEY, f float8, f4 float4);
INSERT INTO equal SELECT i, i / 7.0, i / 7.0 FROM generate_series(1, 1000) AS i;
CREATE TABLE exchanged (id int PRIMARY KEY, v int);
INSERT INTO exchanged VALUES (1, 100), (2, 200), (3, 300);
CREATE TABLE doubled (v text);
INSERT INTO doubled VALUES ('a'), ('a'), ('b');
CREATE TABLE columnless ();
INSERT INTO columnless DEFAULT VALUES`

// secret is part of a value that is no key and must not be shown.
const secret = "hunter2"

// Trap 57: neither exchanged values nor rows that are doubled in another way cancel each other. Trap 60: one row of 50000 is
// found. Trap 58: both sides hash the same text.
func TestDifferencesAreNamedByTheirKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dial := func(major int, sql string) database.Dial {
		login := postgres.ForTest(t, major).NewDatabase(t, false)
		dial := func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, login.URL()) }
		conn, err := dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, bothSides+";"+sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		return dial
	}
	long := strings.Repeat("ä", 99) + "\n" + "beyond"
	source := dial(15, `INSERT INTO worded VALUES ('`+long+`')`)
	target := dial(18, `
		UPDATE plain SET v = '`+secret+`' WHERE id IN (500, 40000);
		DELETE FROM plain WHERE id = 7;
		INSERT INTO plain VALUES (60000, '`+secret+`');
		UPDATE composed SET v = 0.5 WHERE a = 3 AND "b c" = 'b3';
		DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless);
		UPDATE exchanged SET v = 300 - v WHERE id < 3;
		UPDATE doubled SET v = 'b' WHERE ctid = (SELECT min(ctid) FROM doubled);
		TRUNCATE emptied`)
	conn, err := source(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	tables, err := catalog.Tables(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"plain":     "public.plain (50000 rows on the source, 50000 on the target; by key id, different: 500, 40000; only on the source: 7; only on the target: 60000)",
		"exchanged": "public.exchanged (3 rows on the source, 3 on the target; by key id, different: 1, 2)",
		"doubled":   "public.doubled (3 rows on the source, 3 on the target; it has no key to name the different ones by)",
		"composed":  `public.composed (1000 rows on the source, 1000 on the target; by key a, b c, different: (3,b3))`,
		"worded":    "public.worded (1001 rows on the source, 1000 on the target; by key word, only on the source: " + strings.Repeat("ä", 99) + " …)",
		"keyless":   "public.keyless (100 rows on the source, 99 on the target; it has no key to name the different ones by)",
	}
	// The majors decide about the hash: the one for PostgreSQL 10 has to find the same.
	for _, sides := range []verify.Sides{{SourceMajor: 15, TargetMajor: 18}, {SourceMajor: 10, TargetMajor: 18}} {
		found := 0
		err = sides.Verify(ctx, source, target, tables, 2, func(r verify.Result) {
			found++
			name := r.Table.Name
			if r.Equal() {
				if _, differs := want[name]; differs || name == "emptied" {
					t.Errorf("table %s is said to be equal", name)
				}
				return
			}
			text := r.Describe()
			if strings.Contains(text, secret) {
				t.Errorf("a value is shown: %s", text)
			}
			if name == "emptied" {
				if len(r.Difference.Missing) != 10 || !r.Difference.More || !strings.HasSuffix(text, "; and more)") {
					t.Errorf("emptied: %s", text)
				}
			} else if text != want[name] {
				t.Errorf("got  %s\nwant %s", text, want[name])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if found != len(tables) || found != 9 {
			t.Errorf("%d tables of %d were verified", found, len(tables))
		}
	}
}
