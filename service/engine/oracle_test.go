package engine_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// The oracle of the matrix compares two databases without any of the engine's code: the schema as one pg_dump writes it, the
// list of all objects, every row as text, every sequence, every materialized view.

func replaced(pattern, by string) func(string) string {
	expression := regexp.MustCompile(pattern)
	return func(text string) string { return expression.ReplaceAllString(text, by) }
}

// compare is the oracle. The source may still be fenced by a default; the target is the one that it was migrated to.
func (p *pair) compare(t *testing.T, m majors) {
	t.Helper()
	source, target := connect(t, p.source.URL()), connect(t, p.target.URL())
	for _, conn := range []*pgx.Conn{source, target} {
		run(t, conn, "SET default_transaction_read_only = off; SET bytea_output = hex")
		if m.source < 12 && m.target >= 12 {
			// From 12 on, a floating-point number has the shortest text that leads back to it. Columns of numbers are compared bit
			// by bit; the others, like arrays, in the digits that both have.
			run(t, conn, "SET extra_float_digits = 0")
		}
	}
	p.compareSchemas(t, m)
	compareLists(t, "objects", objectsSQL, source, target)
	compareLists(t, "sequences", sequencesSQL, source, target)
	compareLists(t, "large objects", largeObjectsSQL, source, target)
	compareLists(t, "materialized views", viewsSQL, source, target)
	// A materialized view of the target is as fresh as the migration; the source's is made so.
	for _, view := range lines(t, source, filledViewsSQL) {
		run(t, source, "REFRESH MATERIALIZED VIEW "+view)
	}
	compareRows(t, source, target)
	if alien := lines(t, target, alienSQL); len(alien) > 0 {
		t.Errorf("objects of the target have another owner: %v", alien)
	}
}

// compareSchemas compares the texts of pg_dump. The same expression looks different on servers of different versions, and
// when it is read back: the text of the source is that of a twin on the target's server, made by nothing but pg_dump.
func (p *pair) compareSchemas(t *testing.T, m majors) {
	t.Helper()
	twin := postgres.ForTest(t, m.target).NewDatabase(t, false)
	run(t, connect(t, twin.URL()), readable(dumpSchema(t, p.source)))
	if a, b := dumpSchema(t, twin), dumpSchema(t, p.target); a != b {
		t.Errorf("the schemas differ:\n%s", diff(a, b))
	}
}

// withoutServersOptions takes away what a server sets for its columns by itself, and never to the same value twice.
func withoutServersOptions(script string) string {
	const set = `(?m)^(ALTER (?:TABLE|FOREIGN TABLE|MATERIALIZED VIEW) (?:[^;"]|"(?:[^"]|"")*")* SET \()pg_attver=\d+`
	return replaced(set+`\);\n+`, "")(replaced(set+`, `, "${1}")(script))
}

// readable writes what pg_dump 18 writes so that an owner can have every server read it.
var readable = func(script string) string {
	script = replaced(`(?m)^CREATE EVENT TRIGGER [^;]*;$`, "")(script)
	script = replaced(`(?m)^SET transaction_timeout = 0;$`, "")(script)                              // since 17
	return replaced(`(?m)^(CREATE OPERATOR [^\n]+ \(\n    )FUNCTION = `, "${1}PROCEDURE = ")(script) // since 11
}

// objectsSQL names every object, whatever it is, but for those that come with another one and not in every version:
//   - the types of arrays (of domains since 11) and of multiranges (since 14, with functions and casts), and the row type of a
//     sequence (until 13);
//   - NOT NULL constraints (since 18);
//   - constraints and triggers that a partition has from its parent, which are named and marked differently.
const objectsSQL = `
SELECT i.type || ' ' || replace(i.identity, 'pg_catalog.', '')
FROM (
    SELECT 'pg_class'::regclass AS class, oid FROM pg_class
    UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
        WHERE t.typtype <> 'm' AND t.typcategory <> 'A' AND c.relkind IS DISTINCT FROM 'S'
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint AS k WHERE contype <> 'n' AND coalesce(to_jsonb(k) ->> 'conparentid', '0') = '0'
    UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef
    UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger AS g WHERE NOT tgisinternal AND coalesce(to_jsonb(g) ->> 'tgparentid', '0') = '0'
    UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite
    UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
    UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
    UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
    UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension
) AS o
CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) AS i
WHERE o.oid >= 16384
    AND coalesce(i.schema, '') !~ '^pg_'
    AND i.identity !~ '^pg_(toast|temp)'
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = o.class AND d.objid = o.oid AND (d.deptype = 'e' OR d.deptype = 'i' AND d.classid IN ('pg_proc'::regclass, 'pg_cast'::regclass)))
ORDER BY 1`

const sequencesSQL = `
SELECT format('%I.%I %s %s', n.nspname, c.relname, s.seqtypid::regtype, ROW(s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)::text)
    || ' ' || (xpath('/row/at/text()', query_to_xml(format('SELECT last_value || '' '' || is_called AS at FROM %I.%I', n.nspname, c.relname), false, true, '')))[1]::text
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY 1`

const largeObjectsSQL = `SELECT oid || ' ' || length(lo_get(oid)) || ' ' || md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid`

const viewsSQL = `
SELECT oid::regclass || CASE WHEN relispopulated THEN ' is filled' ELSE ' is not' END
FROM pg_class
WHERE relkind = 'm'
ORDER BY 1`

// In the order of their creation, which is one that their queries allow.
const filledViewsSQL = `SELECT oid::regclass::text FROM pg_class WHERE relkind = 'm' AND relispopulated ORDER BY pg_class.oid`

// alienSQL names what the login does not own, but for extensions and what their types bring with them.
const alienSQL = `
SELECT name
FROM (
    SELECT 'pg_class'::regclass AS class, oid, relname AS name, relowner AS owner FROM pg_class
    UNION ALL SELECT 'pg_type'::regclass, oid, typname, typowner FROM pg_type WHERE typcategory <> 'A'
    UNION ALL SELECT 'pg_proc'::regclass, oid, proname, proowner FROM pg_proc
    UNION ALL SELECT 'pg_namespace'::regclass, oid, nspname, nspowner FROM pg_namespace
) AS o
WHERE o.oid >= 16384
    AND pg_get_userbyid(o.owner) <> current_user
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype IN ('e', 'i'))`

// rowsSQL gives for each table and filled materialized view the query of its rows as text, sorted by a rule that no version
// and no locale changes. The columns are named: their order need not be the same. Floating-point numbers are shown as bits.
const rowsSQL = `
SELECT
    format('%I.%I', n.nspname, c.relname),
    format('SELECT ROW(%s)::text FROM %s %I.%I ORDER BY ROW(%s)::text COLLATE "C"',
        a.columns, CASE c.relkind WHEN 'r' THEN 'ONLY' ELSE '' END, n.nspname, c.relname, a.columns)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT coalesce(string_agg(format(
            -- NaN has a sign that no text shows.
            CASE a.atttypid WHEN 'float4'::regtype THEN 'float4send(nullif(%I, ''NaN''))' WHEN 'float8'::regtype THEN 'float8send(nullif(%I, ''NaN''))' ELSE '%I' END, attname), ', ' ORDER BY a.attnum), '')
    FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
) AS a (columns)
WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1`

func compareRows(t *testing.T, source, target *pgx.Conn) {
	t.Helper()
	tables := readPairs(t, source, rowsSQL)
	if len(tables) < 2 {
		t.Fatalf("only %d tables to compare", len(tables))
	}
	for _, table := range tables {
		checksum := "SELECT count(*) || ' rows, md5 ' || coalesce(md5(string_agg(x, E'\\n')), '') FROM (" + table[1] + ") AS t (x)"
		a, b := lines(t, source, checksum), lines(t, target, checksum)
		if slices.Equal(a, b) {
			continue
		}
		t.Errorf("table %s differs (%v, %v):\n%s", table[0], a, b, diff(strings.Join(lines(t, source, table[1]), "\n"), strings.Join(lines(t, target, table[1]), "\n")))
	}
}

func compareLists(t *testing.T, what, sql string, source, target *pgx.Conn) {
	t.Helper()
	a, b := strings.Join(lines(t, source, sql), "\n"), strings.Join(lines(t, target, sql), "\n")
	if a != b {
		t.Errorf("the %s differ:\n%s", what, diff(a, b))
	}
}

func run(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
}

func lines(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, _ := conn.Query(context.Background(), sql, pgx.QueryExecModeSimpleProtocol) // CollectRows gives its error
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
	return texts
}

func readPairs(t *testing.T, conn *pgx.Conn, sql string) [][2]string {
	t.Helper()
	rows, _ := conn.Query(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
	pairs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (pair [2]string, err error) {
		err = row.Scan(&pair[0], &pair[1])
		return pair, err
	})
	if err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
	return pairs
}
