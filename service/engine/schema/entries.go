package schema

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Store writes the entries that come after the data to the ledger, in the transaction that creates the others.
func Store(ctx context.Context, tx pgx.Tx, entries []Entry) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"_pgmig", "entries"}, []string{"position", "kind", "schema_name", "name", "statements"},
		pgx.CopyFromSlice(len(entries), func(i int) ([]any, error) {
			e := entries[i]
			return []any{i, e.Kind, e.Schema, e.Name, e.Statements}, nil
		}))
	if err != nil {
		return fmt.Errorf("writing the schema's entries to the ledger: %w", err)
	}
	return nil
}

// Querier is the part of a session that Pending needs.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Stored is an entry in the ledger.
type Stored struct {
	Position int
	Entry
}

// Pending gives the entries of one point that are not created yet, in the order of the dump.
func Pending(ctx context.Context, q Querier, when When) ([]Stored, error) {
	const sql = `
SELECT position, kind, schema_name, name, statements
FROM _pgmig.entries
WHERE NOT done
ORDER BY position`
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("reading the schema's entries from the ledger: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Stored, err error) {
		err = row.Scan(&s.Position, &s.Kind, &s.Schema, &s.Name, &s.Statements)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schema's entries from the ledger: %w", err)
	}
	var pending []Stored
	for _, s := range all {
		if s.When() == when {
			pending = append(pending, s)
		}
	}
	return pending, nil
}

// sessionSQL is what pg_restore sets at the head of its scripts, as far as our sessions do not have it anyway.
const sessionSQL = `SET LOCAL check_function_bodies = false`

// statements are e.Statements in words that every server knows: pg_dump 18 names an operator's function by FUNCTION, which
// version 10 does not know, and PROCEDURE is understood by all.
func (e Entry) statements() string {
	if e.Kind == "OPERATOR" {
		return strings.Replace(e.Statements, " (\n    FUNCTION = ", " (\n    PROCEDURE = ", 1)
	}
	return e.Statements
}

// Create runs the statements of e on the target.
func Create(ctx context.Context, tx pgx.Tx, e Entry) error {
	if _, err := tx.Exec(ctx, sessionSQL+";\n"+e.statements(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("creating %s on the target: %w", e, err)
	}
	return nil
}

// CreateStored is Create for an entry in the ledger, which it marks as done in the same transaction.
func CreateStored(ctx context.Context, tx pgx.Tx, s Stored) error {
	if err := Create(ctx, tx, s.Entry); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE _pgmig.entries SET done = true WHERE position = $1`, s.Position); err != nil {
		return fmt.Errorf("recording %s in the ledger: %w", s, err)
	}
	return nil
}
