package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// soakTable is a table of a random schema. Its expressions make a row of the integer i, so that sessions meet at the same keys.
type soakTable struct {
	name    string
	create  string   // with %s for the columns that every table has
	key     []column // what ON CONFLICT names; none without a key
	others  []column // by which rows are told apart: the pool's choice
	special []string // statements that only this table knows; %[1]s is its name, %[2]d and %[3]d are keys
	limit   int      // how many rows it is meant to have
	wide    bool     // holds TOAST values, which are kept apart from the many rows of large transactions
	copy    func(int) string
}

// column is a column and the expression of its value.
type column struct{ name, kind, value string }

// columnPool is what tables have beside their key. n is in all of them: statements choose rows by it.
var columnPool = []column{
	{"v", "text", "CASE WHEN i % 7 > 0 THEN md5((i + {salt})::text) END"},
	{"amount", "numeric", "(i + {salt}) / 7.0"},
	{"f", "float8", "CASE WHEN i % 11 = 0 THEN 'NaN'::float8 ELSE (i + {salt}) / 3.0 END"},
	{"data", "jsonb", "jsonb_build_object('i', i, 'salt', {salt})"},
	{"list", "text[]", `ARRAY['a,b', NULL, '', E'\\\\ "' || i, 'NULL']`},
	{"at", "timestamptz", "timestamptz '2026-03-29 00:30 UTC' + make_interval(mins => i % 1000 + {salt})"},
	{"bits", "bytea", "decode(md5((i + {salt})::text), 'hex')"},
	{"c", "char(9)", "'x' || i % 1000"},
	{"flag", "boolean", "nullif(i % 3, 0) = 1"},
	{"line", "text", `E'tab\t line\n \\. ' || {salt}`},
}

var wideColumns = []column{
	{"big", "text", "CASE WHEN i % 5 > 0 THEN repeat(md5((i + {salt})::text), 70 + i % 150) END"},
	{"bigger", "text", "repeat(md5((i * 3 + {salt})::text), 100)"},
}

const soakKeys = 3000 // keys are below it, so that sessions meet

// soakSchema gives a random schema: each kind of table once, some of them twice.
func soakSchema(random *rand.Rand) []soakTable {
	id := column{"id", "int", "i"}
	integer := soakTable{name: "integers", create: "id int PRIMARY KEY, %s", key: []column{id}, copy: func(i int) string { return fmt.Sprint(i) }}
	integer.special = []string{
		// Two rows exchange their keys.
		`UPDATE %[1]s SET id = -id WHERE id IN (%[2]d, %[3]d); UPDATE %[1]s SET id = %[3]d WHERE id = -%[2]d; UPDATE %[1]s SET id = %[2]d WHERE id = -%[3]d`,
		`UPDATE %[1]s SET id = id + 100000 WHERE id BETWEEN %[2]d AND %[2]d + 20; UPDATE %[1]s SET id = id - 100000 WHERE id > 100000`,
		`DELETE FROM %[1]s WHERE id = %[2]d; INSERT INTO %[1]s (id, n) VALUES (%[2]d, 1); UPDATE %[1]s SET n = n + 1 WHERE id = %[2]d`,
	}
	uuid := soakTable{name: "uuids", create: "id uuid PRIMARY KEY, %s", key: []column{{"id", "uuid", "md5(i::text)::uuid"}}}
	uuid.special = []string{`UPDATE %[1]s SET id = md5('%[3]d')::uuid WHERE id = md5('%[2]d')::uuid`}
	text := soakTable{name: "texts", create: "id text PRIMARY KEY, %s", key: []column{{"id", "text", "'key ' || i"}}}
	text.special = []string{`UPDATE %[1]s SET id = 'key %[3]d' WHERE id = 'key %[2]d'`, `UPDATE %[1]s SET id = upper(id) WHERE id = 'key %[2]d'`}
	composite := soakTable{name: "composite", create: "b text, a int, %s, PRIMARY KEY (a, b)", key: []column{{"a", "int", "i % 100"}, {"b", "text", "'b' || i"}}}
	composite.special = []string{`UPDATE %[1]s SET a = a + 1 WHERE b = 'b%[2]d'`, `UPDATE %[1]s SET b = b || '!' WHERE a = %[2]d %% 100 AND length(b) < 8`}
	keyless := soakTable{name: "keyless", create: "dup int, %s", others: []column{{"dup", "int", "nullif(i % 5, 0)"}}, copy: func(i int) string { return fmt.Sprint(i % 5) }}
	keyless.special = []string{
		`DELETE FROM %[1]s WHERE ctid = (SELECT ctid FROM %[1]s LIMIT 1)`,
		`INSERT INTO %[1]s SELECT * FROM %[1]s LIMIT 5`,
		`INSERT INTO %[1]s DEFAULT VALUES`,
		`UPDATE %[1]s SET dup = NULL WHERE ctid = (SELECT ctid FROM %[1]s LIMIT 1)`,
	}
	wideKeyless := soakTable{name: "wide_keyless", create: "dup int, %s", others: keyless.others, special: keyless.special, wide: true}
	wide := soakTable{name: "wide", create: "id int PRIMARY KEY, %s", key: []column{id}, special: integer.special[1:2], wide: true}
	full := soakTable{name: "full_identity", create: "id int PRIMARY KEY, %s); ALTER TABLE {name} REPLICA IDENTITY FULL; CREATE INDEX ON {name} (n", key: []column{id}, special: integer.special}
	byIndex := soakTable{name: "by_index", create: "id int PRIMARY KEY, code text NOT NULL UNIQUE, %s); ALTER TABLE {name} REPLICA IDENTITY USING INDEX {name}_code_key; CREATE INDEX ON {name} (n", key: []column{id}, others: []column{{"code", "text", "'c' || i"}}}
	byIndex.special = []string{`UPDATE %[1]s SET code = code || '.' WHERE id = %[2]d`, `UPDATE %[1]s SET id = %[3]d, code = 'c%[3]d' WHERE id = %[2]d`}
	identity := soakTable{name: "identity", create: "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, %s"}
	identity.special = []string{`UPDATE %[1]s SET id = DEFAULT WHERE id = %[2]d`}
	generated := soakTable{name: "generated", create: "id int PRIMARY KEY, g text GENERATED ALWAYS AS (n || ' twice ' || n * 2) STORED, %s", key: []column{id}}
	deferrable := soakTable{name: "postponed", create: "id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, %s", key: []column{id}, others: []column{{"u", "int", "i + 100000 * {salt}"}}}
	deferrable.special = []string{
		`UPDATE %[1]s AS x SET u = y.u FROM %[1]s AS y WHERE x.id IN (%[2]d, %[3]d) AND y.id IN (%[2]d, %[3]d) AND x.id <> y.id`,
		`UPDATE %[1]s SET u = u + 1 WHERE id BETWEEN %[2]d AND %[2]d + 50`,
	}
	partitioned := soakTable{name: "partitioned", key: []column{{"part", "int", "i % 4"}, id}, create: `part int, id int, %s, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
		CREATE TABLE {name}_0 PARTITION OF {name} FOR VALUES IN (0);
		CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES IN (1) PARTITION BY RANGE (id);
		CREATE TABLE {name}_1_low PARTITION OF {name}_1 FOR VALUES FROM (MINVALUE) TO (1000);
		CREATE TABLE {name}_1_high PARTITION OF {name}_1 FOR VALUES FROM (1000) TO (MAXVALUE);
		CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT;
		CREATE INDEX ON {name} (n`}
	partitioned.special = []string{
		`UPDATE %[1]s SET part = (part + 1) %% 4 WHERE id = %[2]d`,
		`UPDATE %[1]s SET part = (part + 1) %% 4 WHERE id BETWEEN %[2]d AND %[2]d + 20 AND part < 8`,
		`TRUNCATE %[1]s_1_low`,
	}
	child := soakTable{
		name: "child", create: "id int PRIMARY KEY, parent int REFERENCES integers ON DELETE CASCADE ON UPDATE CASCADE, elder int REFERENCES {name} ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED, %s); CREATE INDEX ON {name} (parent); CREATE INDEX ON {name} (elder",
		key: []column{id}, others: []column{{"parent", "int", "(SELECT max(p.id) FROM integers AS p WHERE p.id <= i)"}, {"elder", "int", "(SELECT max(p.id) FROM {name} AS p WHERE p.id < i)"}},
	}

	tables := []soakTable{integer, uuid, text, composite, keyless, wideKeyless, wide, full, byIndex, identity, generated, deferrable, partitioned, child}
	for _, t := range slices.Clone(tables) {
		if random.IntN(4) == 0 {
			t.name += "_2"
			tables = append(tables, t)
		}
	}
	for i := range tables {
		tables[i].choose(random)
	}
	return tables
}

// choose gives the table some columns of the pool.
func (t *soakTable) choose(random *rand.Rand) {
	columns := slices.Clone(columnPool)
	random.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	columns = columns[:1+random.IntN(len(columns))]
	t.limit = soakKeys
	if t.wide {
		columns = append(columns[:1], wideColumns...)
		t.limit = soakKeys / 5
	}
	if len(t.key) == 0 && len(t.others) > 0 { // without a key each change reads the whole table on the target
		t.limit /= 10
	}
	columns = append(columns, column{"n", "int", "(i * 7 + {salt}) % 1000"})
	var definitions []string
	for _, c := range columns {
		definitions = append(definitions, c.name+" "+c.kind)
	}
	t.others = append(slices.Clone(t.others), columns...)
	t.create = "CREATE TABLE {name} (" + fmt.Sprintf(t.create, strings.Join(definitions, ", ")) + ")"
	if t.wide && random.IntN(2) == 0 {
		t.create += "; ALTER TABLE {name} ALTER big SET STORAGE EXTERNAL"
	}
	if random.IntN(2) == 0 {
		t.create += "; CREATE INDEX ON {name} (n)"
	}
	t.create = strings.ReplaceAll(t.create, "{name}", t.name)
}

// fill writes the expressions of some columns for one statement.
func (t *soakTable) fill(text string, salt int) string {
	return strings.NewReplacer("{salt}", fmt.Sprint(salt), "{name}", t.name).Replace(text)
}

// insert adds rows of the keys from first on.
func (t *soakTable) insert(random *rand.Rand, first, rows int) string {
	var names, values []string
	for _, c := range slices.Concat(t.key, t.others) {
		names, values = append(names, c.name), append(values, c.value)
	}
	sql := fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM generate_series(%d, %d) AS i", t.name, strings.Join(names, ", "), strings.Join(values, ", "), first, first+rows-1)
	if len(t.key) > 0 {
		var key []string
		for _, c := range t.key {
			key = append(key, c.name)
		}
		sql += " ON CONFLICT (" + strings.Join(key, ", ") + ") DO "
		if random.IntN(2) == 0 {
			sql += "NOTHING"
		} else {
			sql += "UPDATE SET n = excluded.n + 1"
		}
	}
	return t.fill(sql, random.IntN(1000))
}

// update changes some columns of the rows that a range of n chooses.
func (t *soakTable) update(random *rand.Rand) string {
	from := random.IntN(1000)
	var changes []string
	for _, c := range t.others {
		if random.IntN(3) == 0 && !strings.Contains(c.value, "SELECT") && c.name != "u" && c.name != "code" {
			changes = append(changes, c.name+" = "+c.value)
		}
	}
	if len(changes) == 0 {
		changes = []string{"n = n + 1"}
	}
	sql := fmt.Sprintf("UPDATE %s SET %s FROM (SELECT %d) AS x (i) WHERE n BETWEEN %d AND %d", t.name, strings.Join(changes, ", "), random.IntN(1000), from, from+random.IntN(30))
	return t.fill(sql, random.IntN(1000))
}

// statement gives a random statement.
func (t *soakTable) statement(random *rand.Rand) string {
	switch chance := random.IntN(100); {
	case chance < 35:
		rows := 1
		if random.IntN(3) == 0 {
			rows = 1 + random.IntN(t.limit/10)
		}
		return t.insert(random, random.IntN(t.limit), rows)
	case chance < 60:
		return t.update(random)
	case chance < 72:
		from := random.IntN(1000)
		return fmt.Sprintf("DELETE FROM %s WHERE n BETWEEN %d AND %d", t.name, from, from+random.IntN(40))
	case chance < 73 && t.name != "integers": // the large transactions would have nothing to do
		return "TRUNCATE " + t.name + " CASCADE"
	case len(t.special) > 0:
		return fmt.Sprintf(t.special[random.IntN(len(t.special))]+"; SELECT %[2]d, %[3]d", t.name, 1+random.IntN(t.limit), 1+random.IntN(t.limit))
	}
	return t.update(random)
}
