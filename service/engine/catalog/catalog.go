// Package catalog reads what is in a database: tables, their columns and keys, sequences, and a fingerprint of the schema.
package catalog

import (
	"context"
	_ "embed" // for the queries
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Querier is the part of a session that the catalog needs.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Major is the major version of conn's server, as it says at the start of a session. A server always does; 0 would be one
// that is none.
func Major(conn *pgx.Conn) int {
	var major int
	_, _ = fmt.Sscanf(conn.PgConn().ParameterStatus("server_version"), "%d", &major) // "18.4 (Debian …)" or "19beta1"
	return major
}

// Identity is the replica identity of a table, as pg_class.relreplident has it.
type Identity string

// The replica identities.
const (
	IdentityDefault Identity = "d" // the primary key
	IdentityNothing Identity = "n"
	IdentityFull    Identity = "f"
	IdentityIndex   Identity = "i"
)

// Table is one table that holds rows: an ordinary table or a leaf partition.
type Table struct {
	OID      uint32
	Schema   string
	Name     string
	Unlogged bool
	Identity Identity
	Filenode uint32 // of the main fork; changes when the table is rewritten or truncated
	Bytes    int64  // size of the table without its indexes, with TOAST
	Rows     int64  // estimated; 0 when no ANALYZE or VACUUM was done yet
	Columns  []Column
	// Key names the columns of the key that a row is found by: the replica identity's, if that is a key, else the primary
	// key's, else those of the best usable unique index. Empty: the table has none.
	Key []string
	// KeyIndex is the index of Key; KeyPrimary says that it is the primary key's, KeyIdentity that the table names it as
	// its replica identity.
	KeyIndex    string
	KeyPrimary  bool
	KeyIdentity bool
}

// Column is one column of a table.
type Column struct {
	Number  int16
	Name    string
	TypeOID uint32
	// BaseTypeOID is the type below a domain, which may be a domain again; else TypeOID.
	BaseTypeOID uint32
	Type        string // as SQL, with its modifier, schema-qualified unless in pg_catalog
	Generated   bool   // GENERATED ALWAYS AS (expression): cannot be written
}

// SQLName gives the table's quoted, schema-qualified name.
func (t Table) SQLName() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

// String is the name for people.
func (t Table) String() string { return t.Schema + "." + t.Name }

// Writable gives the columns that can be written, in their order.
func (t Table) Writable() []Column {
	columns := make([]Column, 0, len(t.Columns))
	for _, c := range t.Columns {
		if !c.Generated {
			columns = append(columns, c)
		}
	}
	return columns
}

//go:embed tables.sql
var tablesSQL string

//go:embed columns.sql
var columnsSQL string

//go:embed keys.sql
var keysSQL string

// Tables reads all tables that hold rows, of all schemas but the system's and ours, in the order of schema and name. To be
// consistent the three queries need a transaction with one snapshot.
func Tables(ctx context.Context, q Querier) ([]Table, error) {
	rows, err := q.Query(ctx, tablesSQL)
	if err != nil {
		return nil, fmt.Errorf("reading the list of tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		err = row.Scan(&t.OID, &t.Schema, &t.Name, &t.Unlogged, &t.Identity, &t.Filenode, &t.Bytes, &t.Rows)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the list of tables: %w", err)
	}
	byOID := make(map[uint32]*Table, len(tables))
	for i := range tables {
		byOID[tables[i].OID] = &tables[i]
	}
	if err := readColumns(ctx, q, byOID); err != nil {
		return nil, err
	}
	if err := readKeys(ctx, q, byOID); err != nil {
		return nil, err
	}
	return tables, nil
}

// TablesNow is Tables under a snapshot of its own.
func TablesNow(ctx context.Context, conn *pgx.Conn) (tables []Table, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		tables, err = Tables(ctx, tx)
		return err
	})
	return tables, err
}

func readColumns(ctx context.Context, q Querier, byOID map[uint32]*Table) error {
	rows, err := q.Query(ctx, columnsSQL)
	if err != nil {
		return fmt.Errorf("reading the columns: %w", err)
	}
	var (
		oid uint32
		c   Column
	)
	_, err = pgx.ForEachRow(rows, []any{&oid, &c.Number, &c.Name, &c.TypeOID, &c.BaseTypeOID, &c.Type, &c.Generated}, func() error {
		if t := byOID[oid]; t != nil {
			t.Columns = append(t.Columns, c)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the columns: %w", err)
	}
	return nil
}

func readKeys(ctx context.Context, q Querier, byOID map[uint32]*Table) error {
	rows, err := q.Query(ctx, keysSQL)
	if err != nil {
		return fmt.Errorf("reading the keys: %w", err)
	}
	var (
		oid               uint32
		index             string
		primary, identity bool
		columns           []string
	)
	// The query gives the best index of each table first.
	_, err = pgx.ForEachRow(rows, []any{&oid, &index, &primary, &identity, &columns}, func() error {
		if t := byOID[oid]; t != nil && t.Key == nil {
			t.Key, t.KeyIndex, t.KeyPrimary, t.KeyIdentity = columns, index, primary, identity
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the keys: %w", err)
	}
	return nil
}

//go:embed parents.sql
var parentsSQL string

// Parents gives the SQL names of the partitioned tables, which hold no rows themselves, the outermost first.
func Parents(ctx context.Context, q Querier) ([]string, error) {
	rows, err := q.Query(ctx, parentsSQL)
	if err != nil {
		return nil, fmt.Errorf("reading the list of partitioned tables: %w", err)
	}
	names, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var schema, name string
		err := row.Scan(&schema, &name)
		return pgx.Identifier{schema, name}.Sanitize(), err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the list of partitioned tables: %w", err)
	}
	return names, nil
}

// Sequence is one sequence and where it stands.
type Sequence struct {
	Schema string
	Name   string
	Last   int64
	Called bool // Last was given out already
}

// SQLName gives the sequence's quoted, schema-qualified name.
func (s Sequence) SQLName() string { return pgx.Identifier{s.Schema, s.Name}.Sanitize() }

//go:embed sequences.sql
var sequencesSQL string

// sequencesPerQuery bounds the branches of one UNION ALL and the locks that one statement takes.
const sequencesPerQuery = 500

// Sequences reads where all sequences stand, owned by a column or not.
func Sequences(ctx context.Context, q Querier) ([]Sequence, error) {
	rows, err := q.Query(ctx, sequencesSQL)
	if err != nil {
		return nil, fmt.Errorf("reading the list of sequences: %w", err)
	}
	sequences, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Sequence, err error) {
		err = row.Scan(&s.Schema, &s.Name)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the list of sequences: %w", err)
	}
	for batch := range slices.Chunk(sequences, sequencesPerQuery) {
		if err := ReadPositions(ctx, q, batch); err != nil {
			return nil, err
		}
	}
	return sequences, nil
}

// lastValuesSQL gives the positions of the sequences that were used already. It is several times as quick as reading them
// like tables.
const lastValuesSQL = `
SELECT s.number - 1, pg_catalog.pg_sequence_last_value(s.name::pg_catalog.regclass)
FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS s (name, number)`

// ReadPositions reads where the sequences, some hundreds of them at most, stand.
func ReadPositions(ctx context.Context, q Querier, sequences []Sequence) error {
	rows, err := q.Query(ctx, lastValuesSQL, sqlNames(sequences))
	if err != nil {
		return fmt.Errorf("reading the sequences: %w", err)
	}
	var (
		i      int
		value  *int64
		unused strings.Builder
	)
	_, err = pgx.ForEachRow(rows, []any{&i, &value}, func() error {
		if value != nil {
			sequences[i].Last, sequences[i].Called = *value, true
			return nil
		}
		if unused.Len() > 0 {
			unused.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&unused, "SELECT %d, last_value, is_called FROM %s", i, sequences[i].SQLName())
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the sequences: %w", err)
	}
	if unused.Len() == 0 {
		return nil
	}
	if rows, err = q.Query(ctx, unused.String()); err != nil {
		return fmt.Errorf("reading the sequences: %w", err)
	}
	var (
		last   int64
		called bool
	)
	_, err = pgx.ForEachRow(rows, []any{&i, &last, &called}, func() error {
		sequences[i].Last, sequences[i].Called = last, called
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the sequences: %w", err)
	}
	return nil
}

const setSequencesSQL = `
SELECT pg_catalog.count(pg_catalog.setval(s.name::pg_catalog.regclass, s.last, s.called))
FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::bigint[]), pg_catalog.unnest($3::boolean[])) AS s (name, last, called)`

// SetSequences makes the sequences of these names, some hundreds of them at most, stand as these do.
func SetSequences(ctx context.Context, x Executor, sequences []Sequence) error {
	last, called := make([]int64, len(sequences)), make([]bool, len(sequences))
	for i, s := range sequences {
		last[i], called[i] = s.Last, s.Called
	}
	if _, err := x.Exec(ctx, setSequencesSQL, sqlNames(sequences), last, called); err != nil {
		return fmt.Errorf("setting the sequences: %w", err)
	}
	return nil
}

func sqlNames(sequences []Sequence) []string {
	names := make([]string, len(sequences))
	for i, s := range sequences {
		names[i] = s.SQLName()
	}
	return names
}
