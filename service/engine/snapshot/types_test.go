package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// everyBinaryType has a column of each type that is carried in binary, with the values where types differ in their forms.
const everyBinaryType = `
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE t (
    a1 boolean, a2 bytea, a3 "char", a4 name, a5 bigint, a6 smallint, a7 int, a8 text, a9 oid, b1 json, b2 point, b3 lseg, b4 path, b5 box,
    b6 polygon, b7 line, b8 cidr, b9 real, c1 double precision, c2 circle, c3 macaddr8, c4 macaddr, c5 inet, c6 char(5), c7 varchar(9), c8 date,
    c9 time(3), d1 timestamp, d2 timestamptz, d3 interval, d4 timetz, d5 bit(3), d6 varbit, d7 numeric(30, 5), d8 uuid, d9 jsonb, e1 positive,
    e2 boolean[], e3 bytea[], e4 smallint[], e5 int[], e6 text[], e7 char(3)[], e8 varchar(3)[], e9 bigint[], f1 real[], f2 double precision[],
    f3 timestamp[], f4 date[], f5 timestamptz[], f6 numeric[], f7 uuid[], f8 jsonb[], f9 int4range, g1 numrange, g2 tsrange, g3 tstzrange,
    g4 daterange, g5 int8range);
`

const everyBinaryValue = `
INSERT INTO t VALUES
    (true, '\x00ff', 'x', 'n', -9223372036854775808, -32768, 2147483647, E'a\tb\\N\n"''', 4294967295, '{"a" : [1,  2]}', '(1.5,-0)', '[(0,0),(1,1)]',
     '[(0,0),(1,1)]', '(1,1),(0,0)', '((0,0),(1,1),(2,0))', '{1,2,3}', '10.0.0.0/8', 'NaN', '-Infinity', '<(1,2),3>', '08:00:2b:01:02:03:04:05',
     '08:00:2b:01:02:03', '::1/64', 'ab', '', '4714-11-24 BC', '23:59:59.999', 'infinity', '-infinity', '-178000000 years', '12:00:00.000001+14:30',
     B'101', B'', 12345678901234567890.12345, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b": 1.10, "a": null}', 7,
     '{t,NULL,f}', '{"\\x01",""}', '{1}', '{{1,2},{3,NULL}}', '{"a,b","NULL",NULL,""}', '{ab}', '{}', '{1}', '{0.1,NaN}', '{-0,1e-300}',
     '{infinity}', '{0001-01-01 BC}', '{2026-01-01 00:00+00}', '{NaN,0.00,1e20}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{"{}"}',
     '[1,5)', '(,1.50]', 'empty', '[2026-01-01,)', '(,)', '[1,2)'),
    (NULL, '', '', '', 0, 0, 0, '', 0, 'null', '(1e308,1e-308)', NULL, NULL, NULL, NULL, NULL, '::/0', 1e-45, 0.1, NULL, NULL, NULL, '1.2.3.4', '', NULL,
     'infinity', '24:00:00', '0001-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999+00', '1 mon -1 day 00:00:00.000001', NULL, NULL, NULL, 'NaN', NULL,
     '"\u00e4\ud83d\ude00"', 1, NULL, NULL, NULL, '[-2:0]={1,2,3}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL)`

// userTypes can be carried as text only.
const userTypes = `
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b mood);
CREATE TABLE t (a mood, b mood[], c pair, d pair[], e tsvector, f xml, g money, h regclass);
`

const userValues = `
INSERT INTO t VALUES ('ok', '{sad,ok}', '(1,sad)', '{"(1,ok)",NULL}', 'a fat cat', '<a/>', 1.5, 'pg_class'), (NULL, '{}', '(,)', NULL, '', NULL, NULL, NULL)`

// Trap 9: what has the same binary form on both servers goes that way, everything else as text.
func TestEveryValueArrives(t *testing.T) {
	for name, test := range map[string]struct {
		types, values string
		binary        bool
	}{
		"binary": {everyBinaryType, everyBinaryValue, true},
		"text":   {userTypes, userValues, false},
		"none":   {`CREATE TABLE t ();`, `INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES`, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, test.types)
			execute(t, p.source, test.values)
			table := p.table(t)
			if inBinary(table) != test.binary {
				t.Errorf("binary: %v", !test.binary)
			}
			rows := p.copy(t, []Part{{Table: table}})
			if got, want := content(t, p.target), content(t, p.source); got != want || rows != 2 {
				t.Errorf("%d rows:\n%s\nwant\n%s", rows, got, want)
			}
		})
	}
}

// The blanks that fill a value of type character(n) are put back by the target; others are carried.
func TestBlanksAtTheEndOfValues(t *testing.T) {
	const columns = `
		CREATE DOMAIN code AS char(20);
		CREATE TYPE mood AS ENUM ('sad', 'ok');
		CREATE TABLE t (a char(20), "b ""c" char(200), c char(9) NOT NULL, d char(8), e bpchar, f code, g char(20)[], h varchar(20), i text%s);`
	const values = `
		INSERT INTO t VALUES
			('', '', '', '', '', '', '{}', '', ''),
			(NULL, NULL, '  ', NULL, NULL, NULL, NULL, NULL, NULL),
			('  a', E'a\t', E'a\n', 'a ', 'a  ', 'a', '{a,NULL,"b "}', 'a  ', 'a  '),
			(repeat('ü', 20), repeat('€', 199), '123456789', '12345678', '      ', repeat('x', 20), NULL, ' ', ' '),
			('ü', '€ ', E'\\N', E'\\.', E'\t ', '"', NULL, NULL, NULL)`
	for name, test := range map[string]struct {
		more    string
		trimmed int // columns
	}{
		"binary": {"", 3},
		"text":   {", j mood DEFAULT 'ok'", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, fmt.Sprintf(columns, test.more))
			execute(t, p.source, values)
			table := p.table(t)
			parts := []Part{{Table: table}}
			if from, _ := statements(parts[0], false, 14); strings.Count(from, "rtrim") != test.trimmed {
				t.Errorf("%s", from)
			}
			if from, _ := statements(parts[0], false, 13); strings.Contains(from, "rtrim") {
				t.Errorf("%s", from)
			}
			for range 2 {
				if rows := p.copy(t, parts); rows != 5 || content(t, p.target) != content(t, p.source) {
					t.Errorf("%d rows:\n%s\nwant\n%s", rows, content(t, p.target), content(t, p.source))
				}
				execute(t, p.target, `TRUNCATE t`)
				parts = []Part{{table, `d < 'a'`}, {table, `d >= 'a' OR d IS NULL`}}
			}
		})
	}
}

// Trap 5: the parts together hold every row once, also those of pages that come later, by a size that needs no ANALYZE.
// Trap 6: a part of a table holds no rows of the tables that inherit from it.
func TestSplit(t *testing.T) {
	const table = `CREATE TABLE t (id %s UNIQUE, filler text); CREATE TABLE heir () INHERITS (t);`
	for _, key := range []string{"int", "smallint", "bigint"} {
		t.Run(key, func(t *testing.T) {
			p := newPair(t, fmt.Sprintf(table, key))
			execute(t, p.source, `INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(-4000, 4000) AS n; INSERT INTO t VALUES (NULL, 'no key'), (32767, 'far')`)
			execute(t, p.source, `INSERT INTO heir VALUES (1, 'of another table')`)
			described := p.table(t)
			pages, err := Split(t.Context(), p.source, described, described.Bytes/5)
			if err != nil || len(pages) != 5 {
				t.Fatalf("%d parts, %v", len(pages), err)
			}
			described.Key = []string{"id"}
			bounds, err := keyBounds(t.Context(), p.source, described, integerKey(described), described.Bytes/5)
			if err != nil || len(bounds) != 4 {
				t.Fatalf("%v, %v", bounds, err)
			}
			execute(t, p.source, `INSERT INTO t (filler) SELECT repeat('x', 500) FROM generate_series(1, 1000) AS n`) // behind the last bound
			for by, parts := range map[string][]Part{"ctid": pages, `"id"`: ranges(described, `"id"`, bounds)} {
				execute(t, p.target, `TRUNCATE t`)
				if rows := p.copy(t, parts); rows != 9003 {
					t.Errorf("by %s: %d rows", by, rows)
				}
				if content(t, p.target) != content(t, p.source) {
					t.Errorf("by %s: other rows", by)
				}
			}
		})
	}
}

func TestSmallAndOddTablesStayWhole(t *testing.T) {
	p := newPair(t, `CREATE TABLE t (id bigint PRIMARY KEY, filler text);`)
	execute(t, p.source, `INSERT INTO t VALUES (-9223372036854775808, ''), (9223372036854775807, '')`)
	table := p.table(t)
	if table.Rows != 0 { // Trap 11: the catalog says -1 before the first ANALYZE
		t.Errorf("%d rows are expected", table.Rows)
	}
	for size, want := range map[int64]int{0: 1, table.Bytes: 1, 1: 1} { // one page cannot be divided
		if parts, err := Split(t.Context(), p.source, table, size); err != nil || len(parts) != want || !parts[0].Whole() {
			t.Errorf("%d: %v, %v", size, parts, err)
		}
	}
	// The widest range of keys that there is.
	bounds, err := keyBounds(t.Context(), p.source, table, `"id"`, table.Bytes/4)
	if err != nil || len(bounds) != 3 || bounds[1] != "(-2)::bigint" {
		t.Errorf("%v, %v", bounds, err)
	}
	if rows := p.copy(t, ranges(table, `"id"`, bounds)); rows != 2 {
		t.Errorf("%d rows", rows)
	}
	table.Key = nil
	if integerKey(table) != "" {
		t.Error("found a key where there is none")
	}
}

// pair is a table t on two servers.
type pair struct{ source, target *pgx.Conn }

func newPair(t *testing.T, types string) pair {
	t.Helper()
	p := pair{
		connect(t, postgres.ForTest(t, 15).NewDatabase(t, true).URL()),
		connect(t, postgres.ForTest(t, 18).NewDatabase(t, false).URL()),
	}
	execute(t, p.source, types)
	execute(t, p.target, types)
	for _, conn := range []*pgx.Conn{p.source, p.target} {
		execute(t, conn, `SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'`)
	}
	return p
}

// copy copies the parts and gives the number of rows.
func (p pair) copy(t *testing.T, parts []Part) (rows int64) {
	t.Helper()
	for _, part := range parts {
		var count Counter
		err := pgx.BeginFunc(t.Context(), p.target, func(tx pgx.Tx) error {
			if part.Whole() {
				n, err := whole(t.Context(), p.source, tx, part.Table, &count)
				rows += n
				return err
			}
			n, err := Copy(t.Context(), p.source, tx, part, false, &count)
			rows += n
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

func (p pair) table(t *testing.T) catalog.Table {
	t.Helper()
	tables, err := catalog.Tables(t.Context(), p.source)
	if err != nil || len(tables) == 0 {
		t.Fatalf("%v, %v", tables, err)
	}
	return tables[len(tables)-1] // they are in the order of their names
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// content gives all rows of t as text, in the order of that text.
func content(t *testing.T, conn *pgx.Conn) (text string) {
	t.Helper()
	const sql = `SELECT coalesce(string_agg(row, E'\n' ORDER BY row COLLATE "C"), '') FROM (SELECT (t.*)::text AS row FROM ONLY t) AS rows`
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// Trap 1: after a rewrite COPY would read no rows, without an error.
func TestATableRewrittenAfterTheSnapshotIsNotCopied(t *testing.T) {
	for name, sql := range map[string]string{
		"column retyped": `ALTER TABLE t ALTER v TYPE bigint`,
		"truncated":      `TRUNCATE t`,
		"compacted":      `VACUUM FULL t`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, `CREATE TABLE t (id int, v int);`)
			execute(t, p.source, `INSERT INTO t SELECT n, n FROM generate_series(1, 100) AS n`)
			table := p.table(t)
			other := connect(t, p.source.Config().ConnString())
			execute(t, p.source, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot()`)
			execute(t, other, sql)
			err := pgx.BeginFunc(t.Context(), p.target, func(tx pgx.Tx) error {
				_, err := whole(t.Context(), p.source, tx, table, &Counter{})
				return err
			})
			if !errors.Is(err, ErrRewritten) {
				t.Errorf("the copy gives %v", err)
			}
		})
	}
}

// Trap 5: only the pages of a heap can be named.
func TestATableThatIsNoHeapStaysWhole(t *testing.T) {
	p := newPair(t, `CREATE TABLE t (id int);`)
	execute(t, p.source, `INSERT INTO t SELECT generate_series(1, 5000)`)
	cluster := postgres.ForTest(t, 15)
	// Another one by name only, so that nothing else of it is different.
	const sql = `CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler; UPDATE pg_class SET relam = (SELECT oid FROM pg_am WHERE amname = 'other') WHERE relname = 't'`
	if err := cluster.Exec(t.Context(), p.source.Config().Database, sql); err != nil {
		t.Fatal(err)
	}
	table := p.table(t)
	if parts, err := Split(t.Context(), p.source, table, table.Bytes/5); err != nil || len(parts) != 1 || !parts[0].Whole() {
		t.Errorf("%v, %v", parts, err)
	}
}

// whole copies a whole table: Empty, then Copy.
func whole(ctx context.Context, source *pgx.Conn, tx pgx.Tx, t catalog.Table, count *Counter) (int64, error) {
	if err := Empty(ctx, tx, t); err != nil {
		return 0, err
	}
	return Copy(ctx, source, tx, Part{Table: t}, true, count)
}
