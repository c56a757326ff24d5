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
	columns []catalog.Column // as the source describes them
	key     []int            // positions in columns of the key that a row is found by; empty: the whole row
	name    string           // quoted
	counts  *Counts
	from    pglogrepl.LSN // changes that commit at or after it are applied

	insertSQL, deleteSQL string
	updateSQL            map[string]string // by mask

	// Of the target's table:
	deferrable []string // constraints, quoted
	literal    []int    // positions in columns of the columns of the target's row type, notSent for one that the source does not send
	foldFrom   int      // number of the first window in which it is folded: the target did not take it in one before
}

const notSent = -1

// newRelation compares the source's description with the table as it was when the schema was copied. A difference is a change
// of the schema on the source that nothing may be guessed about.
func newRelation(t catalog.Table, d *description) (*relation, error) {
	if d.schema != t.Schema || d.name != t.Name {
		return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("it is called %s.%s now", d.schema, d.name)}
	}
	columns := t.Writable()
	if len(columns) != len(d.columns) {
		return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("it has %d columns now instead of %d", len(d.columns), len(columns))}
	}
	r := &relation{table: t, columns: columns, name: t.SQLName(), updateSQL: map[string]string{}}
	position := make(map[string]int, len(columns))
	for i, c := range d.columns {
		if c.name != columns[i].Name || c.typeOID != columns[i].TypeOID {
			return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("column %q is another one now", c.name)}
		}
		position[c.name] = i
	}
	for _, name := range t.Key {
		i, ok := position[name]
		if !ok {
			return nil, &SchemaChangedError{Table: t.String(), Detail: fmt.Sprintf("key column %q is gone", name)}
		}
		r.key = append(r.key, i)
	}
	r.insertSQL = r.insertOne()
	r.deleteSQL = "DELETE FROM ONLY " + r.name + " WHERE " + r.predicate(0)
	return r, nil
}

// checkWidth says whether a change has as many columns as the description before it.
func (r *relation) checkWidth(tuples ...tuple) error {
	for _, t := range tuples {
		if t != nil && len(t) != len(r.columns) {
			return fmt.Errorf("table %s: the source sent %d columns instead of %d", r.table, len(t), len(r.columns))
		}
	}
	return nil
}

func (r *relation) column(i int) string { return pgx.Identifier{r.columns[i].Name}.Sanitize() }

func (r *relation) insertOne() string {
	if len(r.columns) == 0 {
		return "INSERT INTO " + r.name + " DEFAULT VALUES"
	}
	names, values := make([]string, len(r.columns)), make([]string, len(r.columns))
	for i := range r.columns {
		names[i], values[i] = r.column(i), fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO " + r.name + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")"
}

// updateOne sets the columns that the mask does not leave out; the parameters are these, then those of the predicate.
func (r *relation) updateOne(mask string) string {
	if sql, known := r.updateSQL[mask]; known {
		return sql
	}
	var set []string
	for i := range r.columns {
		if mask[i] != pglogrepl.TupleDataTypeToast {
			set = append(set, fmt.Sprintf("%s = $%d", r.column(i), len(set)+1))
		}
	}
	sql := "UPDATE ONLY " + r.name + " SET " + strings.Join(set, ", ") + " WHERE " + r.predicate(len(set))
	r.updateSQL[mask] = sql
	return sql
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
			fmt.Fprintf(&p, "%s = $%d", r.column(k), n+i+1)
		}
		return p.String()
	}
	p.WriteString("ctid = (SELECT ctid FROM ONLY " + r.name)
	for i, c := range r.columns {
		word := " AND "
		if i == 0 {
			word = " WHERE "
		}
		fmt.Fprintf(&p, "%s%s::text IS NOT DISTINCT FROM ($%d::%s)::text", word, r.column(i), n+i+1, c.Type)
	}
	p.WriteString(" LIMIT 1)")
	return p.String()
}

// mask has one byte a column: 'u' where the source did not send an unchanged large value, '.' where it did.
func mask(t tuple) string {
	b := make([]byte, len(t))
	for i, c := range t {
		if b[i] = '.'; c.state == pglogrepl.TupleDataTypeToast {
			b[i] = c.state
		}
	}
	return string(b)
}

// parameters are the values that the source sent.
func parameters(t tuple) [][]byte {
	values := make([][]byte, 0, len(t)+2)
	for _, c := range t {
		if c.state != pglogrepl.TupleDataTypeToast {
			values = append(values, c.parameter())
		}
	}
	return values
}

// identify gives the predicate's parameters from the row's old image, or from its new one when the key did not change.
func (r *relation) identify(old, current tuple) ([][]byte, error) {
	row := old
	if row == nil {
		row = current
	}
	if len(r.key) == 0 {
		if old == nil {
			return nil, fmt.Errorf("table %s: the source did not send the old row (is its replica identity still FULL?)", r.table)
		}
		values := make([][]byte, len(row))
		for i, c := range row {
			if c.state == pglogrepl.TupleDataTypeToast {
				return nil, r.withoutKey(i)
			}
			values[i] = c.parameter()
		}
		return values, nil
	}
	values := make([][]byte, len(r.key))
	for i, k := range r.key {
		if row[k].state != pglogrepl.TupleDataTypeText {
			return nil, r.withoutKey(k)
		}
		values[i] = row[k].parameter()
	}
	return values, nil
}

func (r *relation) withoutKey(column int) error {
	return fmt.Errorf("table %s: the source did not send the value of key column %q", r.table, r.columns[column].Name)
}
