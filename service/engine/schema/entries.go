package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Store writes the entries of a dump to the ledger, in the transaction that creates those that come before the data.
func Store(ctx context.Context, tx pgx.Tx, dump *Dump) error {
	all := slices.Concat(dump.Before, dump.After)
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"_pgmig", "entries"},
		[]string{"position", "before_data", "kind", "schema_name", "name", "statements", "done"},
		pgx.CopyFromSlice(len(all), func(i int) ([]any, error) {
			e, before := all[i], i < len(dump.Before)
			return []any{i, before, e.Kind, e.Schema, e.Name, e.Statements, before}, nil
		}))
	if err != nil {
		return fmt.Errorf("writing the schema's entries to the ledger: %w", err)
	}
	return nil
}

// Replace is Store for a later dump, after what is different before the data was created: an entry that was done and is
// still the same stays done.
func Replace(ctx context.Context, tx pgx.Tx, dump *Dump) error {
	earlier, err := stored(ctx, tx, "true")
	if err != nil {
		return err
	}
	was := map[Entry]bool{}
	for _, s := range earlier {
		was[s.Entry] = s.Done
	}
	if _, err := tx.Exec(ctx, `DELETE FROM _pgmig.entries`); err != nil {
		return fmt.Errorf("replacing the schema's entries in the ledger: %w", err)
	}
	if err := Store(ctx, tx, dump); err != nil {
		return err
	}
	var done []int
	for i, e := range dump.After {
		if was[e] {
			done = append(done, len(dump.Before)+i)
		}
	}
	if _, err := tx.Exec(ctx, `UPDATE _pgmig.entries SET done = true WHERE position = ANY ($1)`, done); err != nil {
		return fmt.Errorf("replacing the schema's entries in the ledger: %w", err)
	}
	return nil
}

// StoredDump gives the dump as it is in the ledger, without the statements that drop it.
func StoredDump(ctx context.Context, q Querier) (*Dump, error) {
	all, err := stored(ctx, q, "true")
	if err != nil {
		return nil, err
	}
	var d Dump
	for _, s := range all {
		if s.Before {
			d.Before = append(d.Before, s.Entry)
		} else {
			d.After = append(d.After, s.Entry)
		}
	}
	return &d, nil
}

// Querier is the part of a session that Pending needs.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Stored is an entry in the ledger.
type Stored struct {
	Position int
	Before   bool // the data
	Done     bool
	Entry
}

// Pending gives the entries of one point that are not created yet, in the order of the dump.
func Pending(ctx context.Context, q Querier, when When) ([]Stored, error) {
	all, err := stored(ctx, q, "NOT done")
	if err != nil {
		return nil, err
	}
	var pending []Stored
	for _, s := range all {
		if s.When() == when {
			pending = append(pending, s)
		}
	}
	return pending, nil
}

// stored reads the entries that fulfil a condition, in the order of the dump.
func stored(ctx context.Context, q Querier, condition string) ([]Stored, error) {
	rows, err := q.Query(ctx, `
SELECT position, before_data, kind, schema_name, name, statements, done
FROM _pgmig.entries
WHERE `+condition+`
ORDER BY position`)
	if err != nil {
		return nil, fmt.Errorf("reading the schema's entries from the ledger: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Stored, err error) {
		err = row.Scan(&s.Position, &s.Before, &s.Kind, &s.Schema, &s.Name, &s.Statements, &s.Done)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schema's entries from the ledger: %w", err)
	}
	return all, nil
}

// sessionSQL is what pg_restore sets at the head of its scripts, as far as our sessions do not have it anyway.
const sessionSQL = `SET LOCAL check_function_bodies = false`

// Creating is e.Statements in words that every server knows: pg_dump 18 names an operator's function by FUNCTION, which
// version 10 does not know, and PROCEDURE is understood by all.
func (e Entry) Creating() string {
	if e.Kind == "OPERATOR" {
		return strings.Replace(e.Statements, " (\n    FUNCTION = ", " (\n    PROCEDURE = ", 1)
	}
	return e.Statements
}

// Create runs the statements of e on the target.
func Create(ctx context.Context, tx pgx.Tx, e Entry) error {
	if err := Run(ctx, tx, e.Creating()); err != nil {
		return fmt.Errorf("creating %s on the target: %w", e, err)
	}
	return nil
}

// Run runs statements in the way of those of a dump.
func Run(ctx context.Context, tx pgx.Tx, sql string) error {
	_, err := tx.Exec(ctx, sessionSQL+";\n"+sql, pgx.QueryExecModeSimpleProtocol)
	return err
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
