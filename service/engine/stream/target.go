package stream

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tableName is a table's schema and name.
type tableName struct{ schema, name string }

// targetTable is what the apply needs to know of a table on the target.
type targetTable struct {
	columns    []string // of its row type, in their order, which need not be that of the source
	deferrable []string // its deferrable constraints, quoted
}

const (
	targetColumnsSQL = `
SELECT n.nspname, c.relname, a.attname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
ORDER BY c.oid, a.attnum`

	targetDeferrableSQL = `
SELECT n.nspname, c.relname, k.conname
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.condeferrable AND c.relkind = 'r'
ORDER BY k.oid`
)

func readTargetTables(ctx context.Context, target *pgconn.PgConn) (map[tableName]*targetTable, error) {
	tables := map[tableName]*targetTable{}
	read := func(sql string, add func(t *targetTable, schema, name string)) error {
		result := target.ExecParams(ctx, sql, nil, nil, nil, nil)
		for result.NextRow() {
			row := result.Values()
			name := tableName{string(row[0]), string(row[1])}
			t := tables[name]
			if t == nil {
				t = &targetTable{}
				tables[name] = t
			}
			add(t, name.schema, string(row[2]))
		}
		if _, err := result.Close(); err != nil {
			return fmt.Errorf("reading the tables of the target: %w", err)
		}
		return nil
	}
	err := read(targetColumnsSQL, func(t *targetTable, _, column string) { t.columns = append(t.columns, column) })
	if err != nil {
		return nil, err
	}
	err = read(targetDeferrableSQL, func(t *targetTable, schema, constraint string) {
		t.deferrable = append(t.deferrable, pgx.Identifier{schema, constraint}.Sanitize())
	})
	return tables, err
}

// setTarget tells the relation about the target's table. Its changes go one by one unless the row type has all its columns.
func (r *relation) setTarget(t *targetTable) {
	if t == nil {
		return
	}
	r.deferrable = t.deferrable
	position := make(map[string]int, len(r.columns))
	for i, c := range r.columns {
		position[c.Name] = i
	}
	literal := make([]int, len(t.columns))
	sent := 0
	for i, name := range t.columns {
		if p, ok := position[name]; ok {
			literal[i] = p
			sent++
		} else {
			literal[i] = notSent
		}
	}
	if sent == len(r.columns) && sent > 0 {
		r.literal = literal
	}
}
