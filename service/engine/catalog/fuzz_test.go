package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// types are what columns of the fuzzed tables have; S is the table's schema, N a name in it.
var types = []string{
	"integer", "bigint", "text", "numeric(10,2)", "varchar(5)", "char(3)", `"char"`, "name", "timestamp(3) with time zone", "interval day to second(2)",
	"bit(3)", "bit varying", "integer[]", "varchar(7)[]", "uuid", "jsonb", "int4range", "regclass", "S.N", "S.N[]", `S."domain of N"`,
}

// statements makes the tables of a fuzzed schema from bytes, and keeps what the catalog has to say of them.
type statements struct {
	shape  []byte
	names  []string
	sql    []string
	tables []catalog.Table
	always []catalog.IdentityColumn
	owned  int // sequences
}

// next gives a number below n.
func (s *statements) next(n int) int {
	if len(s.shape) == 0 {
		return 0
	}
	b := s.shape[0]
	s.shape = s.shape[1:]
	return int(b) % n
}

// identifier makes a name of what comes next that is not among those taken, of 63 bytes at most.
func (s *statements) identifier(taken map[string]bool) string {
	name := "n"
	if len(s.names) > 0 {
		name = s.names[s.next(len(s.names))]
	}
	for i := 0; ; i++ {
		candidate := name
		if i > 0 {
			candidate = fmt.Sprintf("%d%s", i, name)
		}
		for len(candidate) > 63 {
			_, size := utf8.DecodeLastRuneInString(candidate)
			candidate = candidate[:len(candidate)-size]
		}
		if !taken[candidate] && !strings.HasPrefix(candidate, "pg_") && !strings.HasPrefix(candidate, "_pgmig") {
			taken[candidate] = true
			return candidate
		}
	}
}

func (s *statements) add(format string, args ...any) {
	s.sql = append(s.sql, fmt.Sprintf(format, args...))
}

func quoted(names ...string) string { return pgx.Identifier(names).Sanitize() }

func (s *statements) schema(name string) {
	s.add("CREATE SCHEMA %s", quoted(name))
	s.add("CREATE TYPE %s AS ENUM ('a', 'b')", quoted(name, "N"))
	s.add("CREATE DOMAIN %s AS varchar(9) CHECK (VALUE <> '')", quoted(name, "domain of N"))
	relations := map[string]bool{"N": true, "domain of N": true}
	for range 1 + s.next(3) {
		s.table(name, relations)
	}
}

func (s *statements) table(schema string, relations map[string]bool) {
	t := catalog.Table{Schema: schema, Name: s.identifier(relations), Identity: catalog.IdentityDefault}
	// PostgreSQL makes an array type named for each table and the like; it finds other names where these are taken.
	s.add("CREATE TABLE %s ()", t.SQLName())
	attributes := map[string]bool{"tableoid": true, "cmax": true, "xmax": true, "cmin": true, "xmin": true, "ctid": true, "oid": true}
	var plain []string // that may be in a key
	for range s.next(8) {
		c := catalog.Column{Name: s.identifier(attributes), Type: types[s.next(len(types))]}
		column := quoted(c.Name)
		kind := strings.NewReplacer("S.", quoted(schema)+".", "N", `"N"`).Replace(c.Type)
		if strings.HasPrefix(c.Type, `S."`) {
			kind = quoted(schema, "domain of N")
		}
		switch s.next(8) {
		case 0:
			s.add("ALTER TABLE %s ADD %s %s GENERATED ALWAYS AS (NULL) STORED", t.SQLName(), column, kind)
			c.Generated = true
		case 1:
			s.add("ALTER TABLE %s ADD %s bigint GENERATED ALWAYS AS IDENTITY", t.SQLName(), column)
			s.always, plain = append(s.always, catalog.IdentityColumn{Schema: schema, Table: t.Name, Column: c.Name}), append(plain, c.Name)
			s.owned++
		case 2:
			s.add("ALTER TABLE %s ADD %s %s", t.SQLName(), column, kind)
			s.add("ALTER TABLE %s DROP %s", t.SQLName(), column)
			continue
		case 3, 4:
			s.add("ALTER TABLE %s ADD %s integer NOT NULL", t.SQLName(), column)
			plain = append(plain, c.Name)
		default:
			s.add("ALTER TABLE %s ADD %s %s", t.SQLName(), column, kind)
		}
		t.Columns = append(t.Columns, c)
	}
	s.key(&t, plain, attributes, relations)
	s.tables = append(s.tables, t)
}

// key gives the table indexes, of which at most one can serve as its key.
func (s *statements) key(t *catalog.Table, plain []string, attributes, relations map[string]bool) {
	if len(plain) == 0 {
		return
	}
	columns := plain[:1+s.next(len(plain))]
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = quoted(c)
	}
	list := strings.Join(parts, ", ")
	index := s.identifier(relations)
	switch s.next(10) {
	case 0:
		s.add("ALTER TABLE %s ADD CONSTRAINT %s PRIMARY KEY (%s)", t.SQLName(), quoted(index), list)
		t.Key, t.KeyIndex, t.KeyPrimary = columns, index, true
	case 1:
		s.add("CREATE UNIQUE INDEX %s ON %s (%s)", quoted(index), t.SQLName(), list)
		t.Key, t.KeyIndex = columns, index
	case 2:
		s.add("CREATE UNIQUE INDEX %s ON %s (%s)", quoted(index), t.SQLName(), list)
		s.add("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", t.SQLName(), quoted(index))
		t.Key, t.KeyIndex, t.KeyIdentity, t.Identity = columns, index, true, catalog.IdentityIndex
	case 3: // none of these identifies a row, whatever the moment
		s.add("ALTER TABLE %s ADD CONSTRAINT %s UNIQUE (%s) DEFERRABLE", t.SQLName(), quoted(index), list)
	case 4:
		s.add("CREATE UNIQUE INDEX %s ON %s (%s) WHERE %s > 0", quoted(index), t.SQLName(), list, parts[0])
	case 5:
		s.add("CREATE UNIQUE INDEX %s ON %s (%s, (%s + 1))", quoted(index), t.SQLName(), list, parts[0])
	case 6:
		s.add("CREATE UNIQUE INDEX %s ON %s (%s) INCLUDE (%s)", quoted(index), t.SQLName(), list, parts[0])
	case 7:
		s.add("CREATE INDEX %s ON %s (%s)", quoted(index), t.SQLName(), list)
	case 8:
		c := catalog.Column{Name: s.identifier(attributes)}
		s.add("ALTER TABLE %s ADD %s integer", t.SQLName(), quoted(c.Name))
		s.add("CREATE UNIQUE INDEX %s ON %s (%s, %s)", quoted(index), t.SQLName(), list, quoted(c.Name))
		t.Columns = append(t.Columns, c)
	case 9:
		s.add("ALTER TABLE %s REPLICA IDENTITY FULL", t.SQLName())
		t.Identity = catalog.IdentityFull
	}
}

// FuzzCatalog makes tables with any names, types and keys, and compares what is read of them with what was made.
func FuzzCatalog(f *testing.F) {
	f.Add("a\x00a.b\x00b.a\x00\"\x00\\\x00'; --\x00a\nb\x00é", []byte("\x00\x02\x01\x07\x00\x06\x03\x06\x04\x02\x05\x01\x01\x06\x07\x00\x02\x04\x03"))
	f.Add(strings.Repeat("ü", 40)+"\x00"+strings.Repeat("x", 63)+"\x00%s\x00$1\x00{a,b}", []byte("\x01\x02\x02\x07\x01\x0c\x04\x02\x13\x06\x03\x12\x05\x04\x14\x07\x01\x02"))
	f.Add("select\x00 \x00\t\x00A\x00a", []byte("\x02\x00\x03\x01\x06\x00\x05\x01\x00\x03\x02\x01\x04\x06\x06"))
	var session *pgx.Conn // of this process: each input rolls back what it made
	f.Fuzz(func(t *testing.T, names string, shape []byte) {
		if session == nil {
			session = connect(t)
		}
		checkSchemas(t, session, names, shape)
	})
}

// Trap 19: an index that is partial, deferrable, computed or nullable is no key.
//
// TestRandomCatalogs does what FuzzCatalog does, with inputs that are the same each time.
func TestRandomCatalogs(t *testing.T) {
	session := connect(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		shape := make([]byte, 200)
		for i := range shape {
			shape[i] = byte(random.Uint32())
		}
		checkSchemas(t, session, "a\x00a.b\x00b.a\x00a.b.a\x00\"\x00a\"\x00%s\x00'\x00A\x00 \x00\n\x00select\x00$1\x00{a,b}\x00"+strings.Repeat("ü", 40), shape)
	}
}

// connect opens a session with a database of its own, which goes with its server.
func connect(t *testing.T) *pgx.Conn {
	t.Helper()
	login, err := postgres.ForTest(t, 15).CreateOwnerDatabase(context.Background(), "fuzzed_"+strings.ToLower(t.Name()), false)
	if err != nil {
		t.Fatal(err)
	}
	session, err := pgx.Connect(context.Background(), login.URL())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// checkSchemas makes schemas, reads them and compares, and leaves nothing.
func checkSchemas(t *testing.T, session *pgx.Conn, names string, shape []byte) {
	t.Helper()
	s := &statements{shape: shape}
	for name := range strings.SplitSeq(names, "\x00") {
		if name != "" && utf8.ValidString(name) {
			s.names = append(s.names, name)
		}
	}
	schemas := map[string]bool{"public": true, "information_schema": true}
	for range 1 + s.next(2) {
		s.schema(s.identifier(schemas))
	}
	tx, err := session.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if sql := strings.Join(s.sql, ";\n"); sql != "" {
		if _, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	s.check(t, tx)
}

func (s *statements) check(t *testing.T, tx pgx.Tx) {
	tables, err := catalog.Tables(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != len(s.tables) {
		t.Fatalf("%d tables instead of %d", len(tables), len(s.tables))
	}
	for _, want := range s.tables {
		i := slices.IndexFunc(tables, func(got catalog.Table) bool { return got.Schema == want.Schema && got.Name == want.Name })
		if i < 0 {
			t.Fatalf("table %q is not found", want.SQLName())
		}
		s.checkTable(t, tx, tables[i], want)
	}
	always, err := catalog.AlwaysIdentities(t.Context(), tx)
	if err != nil || len(always) != len(s.always) {
		t.Errorf("identity columns: %v, %v", always, err)
	}
	for _, column := range s.always {
		if !slices.Contains(always, column) {
			t.Errorf("identity column %q is not found", column)
		}
	}
	if err := catalog.SetAllGenerated(t.Context(), tx, always, "BY DEFAULT"); err != nil {
		t.Error(err)
	}
	sequences, err := catalog.Sequences(t.Context(), tx)
	if err != nil || len(sequences) != s.owned {
		t.Errorf("sequences: %v, %v", sequences, err)
	}
	if err := catalog.SetSequences(t.Context(), tx, sequences); err != nil {
		t.Error(err)
	}
	if _, err := catalog.Indexes(t.Context(), tx); err != nil {
		t.Error(err)
	}
	s.checkFingerprint(t, tx)
}

func (s *statements) checkTable(t *testing.T, tx pgx.Tx, got, want catalog.Table) {
	name := want.SQLName()
	if got.Identity != want.Identity || !slices.Equal(got.Key, want.Key) || got.KeyIndex != want.KeyIndex || got.KeyPrimary != want.KeyPrimary || got.KeyIdentity != want.KeyIdentity {
		t.Errorf("key of %q: got %+v, want %+v", name, got, want)
	}
	same := slices.EqualFunc(got.Columns, want.Columns, func(x, y catalog.Column) bool { return x.Name == y.Name && x.Generated == y.Generated })
	if !same {
		t.Errorf("columns of %q: got %+v, want %+v", name, got.Columns, want.Columns)
	}
	// The names and types are SQL that means the same.
	var oid uint32
	if err := tx.QueryRow(t.Context(), "SELECT $1::text::regclass::oid", got.SQLName()).Scan(&oid); err != nil || oid != got.OID {
		t.Fatalf("%q is table %d instead of %d: %v", name, oid, got.OID, err)
	}
	for _, c := range got.Columns {
		var number int16
		var kind uint32
		err := tx.QueryRow(t.Context(), `
			SELECT attnum, (SELECT atttypid FROM pg_attribute WHERE attrelid = a.attrelid AND attnum = a.attnum AND format_type(atttypid, atttypmod) = $3)
			FROM pg_attribute AS a WHERE attrelid = $1 AND attname = $2 AND NOT attisdropped`, got.OID, c.Name, c.Type).Scan(&number, &kind)
		if err != nil || number != c.Number || kind != c.TypeOID {
			t.Errorf("column %q of %q: %+v is %d of type %d: %v", c.Name, name, c, number, kind, err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT "+quoted(c.Name)+" IS NOT DISTINCT FROM NULL::"+c.Type+" FROM ONLY "+got.SQLName()); err != nil {
			t.Fatalf("column %q of %q: %v", c.Name, name, err)
		}
	}
}

// checkFingerprint changes one table after the other, each of which has to show.
func (s *statements) checkFingerprint(t *testing.T, tx pgx.Tx) {
	before, err := catalog.ReadFingerprint(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	for i, table := range s.tables {
		sql := []string{
			fmt.Sprintf("ALTER TABLE %s ADD xyzzy%d integer", table.SQLName(), i),
			fmt.Sprintf("ALTER TABLE %s ADD CHECK (1 > 0)", table.SQLName()),
			fmt.Sprintf("CREATE INDEX ON %s ((1))", table.SQLName()),
			fmt.Sprintf("DROP TABLE %s", table.SQLName()),
		}[s.next(4)]
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		after, err := catalog.ReadFingerprint(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		if len(before.Changes(after)) == 0 {
			t.Errorf("%s: no change is seen", sql)
		}
		before = after
	}
}

// Two tables whose names look the same with a dot in between are two all the same.
func TestAChangeBehindANameWithADot(t *testing.T) {
	session := connect(t)
	if _, err := session.Exec(t.Context(), `
		CREATE SCHEMA a; CREATE SCHEMA "a.b"; CREATE TABLE a."b.c" (v integer); CREATE TABLE "a.b".c (v integer)`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	before, err := catalog.ReadFingerprint(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{`a."b.c"`, `"a.b".c`} {
		if _, err := session.Exec(t.Context(), "ALTER TABLE "+table+" ALTER v TYPE bigint"); err != nil {
			t.Fatal(err)
		}
		after, err := catalog.ReadFingerprint(t.Context(), session)
		if err != nil {
			t.Fatal(err)
		}
		if changes := before.Changes(after); len(changes) != 1 || changes[0].String() != "column a.b.c.v was changed" {
			t.Errorf("%s: %v", table, changes)
		}
		before = after
	}
}
