package stream

import (
	"fmt"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// relation is a table as the stream sees it: its columns in the order in which the source sends them.
type relation struct {
	table   catalog.Table
	columns []catalog.Column // of the Relation message
	key     []int            // positions in columns of the key that a row is found by; empty: the whole row
	name    string           // quoted
	counts  *Counts
	from    pglogrepl.LSN // changes that commit at or after it are applied
}

// newRelation compares a Relation message with the table as it was when the schema was copied. A difference is a change of
// the schema on the source that nothing may be guessed about.
func newRelation(t catalog.Table, m *pglogrepl.RelationMessage) (*relation, error) {
	if m.Namespace != t.Schema || m.RelationName != t.Name {
		return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("it is called %s.%s now", m.Namespace, m.RelationName)}
	}
	columns := t.Writable()
	if len(columns) != len(m.Columns) {
		return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("it has %d columns now instead of %d", len(m.Columns), len(columns))}
	}
	r := &relation{table: t, columns: columns, name: t.SQLName()}
	position := make(map[string]int, len(columns))
	for i, c := range m.Columns {
		if c.Name != columns[i].Name || c.DataType != columns[i].TypeOID {
			return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("column %q is another one now", c.Name)}
		}
		position[c.Name] = i
	}
	for _, name := range t.Key {
		i, ok := position[name]
		if !ok {
			return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("key column %q is gone", name)}
		}
		r.key = append(r.key, i)
	}
	return r, nil
}

// shape is a statement without its values. Each is prepared once a session.
type shape struct {
	relation  uint32
	operation pglogrepl.MessageType
	unchanged string // of an update: one byte a column, 'u' where the source did not send an unchanged large value
}

func (r *relation) insertSQL() string {
	if len(r.columns) == 0 {
		return "INSERT INTO " + r.name + " DEFAULT VALUES"
	}
	var names, values strings.Builder
	for i, c := range r.columns {
		if i > 0 {
			names.WriteString(", ")
			values.WriteString(", ")
		}
		names.WriteString(pgx.Identifier{c.Name}.Sanitize())
		fmt.Fprintf(&values, "$%d", i+1)
	}
	return "INSERT INTO " + r.name + " (" + names.String() + ") VALUES (" + values.String() + ")"
}

// updateSQL sets all columns that were sent; the parameters are these, then those of the predicate. It is empty when no
// column was sent.
func (r *relation) updateSQL(unchanged string) string {
	var set strings.Builder
	n := 0
	for i, c := range r.columns {
		if unchanged[i] == pglogrepl.TupleDataTypeToast {
			continue
		}
		if n++; n > 1 {
			set.WriteString(", ")
		}
		fmt.Fprintf(&set, "%s = $%d", pgx.Identifier{c.Name}.Sanitize(), n)
	}
	if n == 0 {
		return ""
	}
	return "UPDATE ONLY " + r.name + " SET " + set.String() + " WHERE " + r.predicate(n)
}

func (r *relation) deleteSQL() string {
	return "DELETE FROM ONLY " + r.name + " WHERE " + r.predicate(0)
}

// predicate finds exactly one row, its parameters starting after the first n. Without a key the whole row is compared, as
// text: the operator = takes 1.0 and 1.00 for the same, and json has none. The detour of the parameter over the column's
// type gives both sides the same text, for instance of char(n), whose cast drops the padding that the source sends.
func (r *relation) predicate(n int) string {
	var p strings.Builder
	if len(r.key) > 0 {
		for i, k := range r.key {
			if i > 0 {
				p.WriteString(" AND ")
			}
			fmt.Fprintf(&p, "%s = $%d", pgx.Identifier{r.columns[k].Name}.Sanitize(), n+i+1)
		}
		return p.String()
	}
	p.WriteString("ctid = (SELECT ctid FROM ONLY " + r.name)
	for i, c := range r.columns {
		word := " AND "
		if i == 0 {
			word = " WHERE "
		}
		fmt.Fprintf(&p, "%s%s::text IS NOT DISTINCT FROM ($%d::%s)::text", word, pgx.Identifier{c.Name}.Sanitize(), n+i+1, c.Type)
	}
	p.WriteString(" LIMIT 1)")
	return p.String()
}

// identify gives the predicate's parameters from the row's old image, or from its new one when the key did not change.
func (r *relation) identify(old, current *pglogrepl.TupleData) ([][]byte, error) {
	tuple := old
	if tuple == nil {
		tuple = current
	}
	positions := r.key
	if len(positions) == 0 {
		if old == nil {
			return nil, fmt.Errorf("table %s: the source did not send the old row (is its replica identity still FULL?)", r.table)
		}
		positions = make([]int, len(r.columns))
		for i := range positions {
			positions[i] = i
		}
	}
	values := make([][]byte, len(positions))
	for i, k := range positions {
		c := tuple.Columns[k]
		if c.DataType == pglogrepl.TupleDataTypeToast || (len(r.key) > 0 && c.DataType == pglogrepl.TupleDataTypeNull) {
			return nil, fmt.Errorf("table %s: the source did not send the value of key column %q", r.table, r.columns[k].Name)
		}
		values[i] = value(c)
	}
	return values, nil
}

// value gives a column's text, nil for NULL. An empty text is not nil.
func value(c *pglogrepl.TupleDataColumn) []byte {
	if c.DataType == pglogrepl.TupleDataTypeNull {
		return nil
	}
	if c.Data == nil {
		return []byte{}
	}
	return c.Data
}
