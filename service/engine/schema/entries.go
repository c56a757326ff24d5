package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Store writes the entries of a dump to the ledger. created says that those that come before the data are there.
func Store(ctx context.Context, tx pgx.Tx, dump *Dump, created bool) error {
	all := slices.Concat(dump.Before, dump.After)
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"_pgmig", "entries"},
		[]string{"position", "before_data", "kind", "schema_name", "name", "statements", "done"},
		pgx.CopyFromSlice(len(all), func(i int) ([]any, error) {
			e, before := all[i], i < len(dump.Before)
			return []any{i, before, e.Kind, e.Schema, e.Name, e.Statements, before && created}, nil
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
	if err := Store(ctx, tx, dump, true); err != nil {
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

// When is Entry.When for entries of both kinds.
func (s Stored) When() When {
	if s.Before {
		return BeforeData
	}
	return s.Entry.When()
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

// Run runs statements in the way of those of a dump.
func Run(ctx context.Context, tx pgx.Tx, sql string) error {
	_, err := tx.Exec(ctx, sessionSQL+";\n"+sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// Beginner is a session, or a transaction, which begins a savepoint.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// entriesPerBatch bounds the locks that a transaction takes, some for each entry, and the round trips to a distant target.
const entriesPerBatch = 100

// Create creates entries of the ledger in their order, and marks them as done in the same transaction. There is a transaction
// for each batch of them, and check, which may be nil, is called at its end.
func Create(ctx context.Context, target Beginner, entries []Stored, check func(pgx.Tx) error) error {
	for batch := range slices.Chunk(entries, entriesPerBatch) {
		err := createBatch(ctx, target, batch, check)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && len(batch) > 1 {
			// The server does not say which of them it was. The one that fails alone has a name.
			for i := range batch {
				if err = createBatch(ctx, target, batch[i:i+1], check); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func createBatch(ctx context.Context, target Beginner, entries []Stored, check func(pgx.Tx) error) error {
	var sql strings.Builder
	positions := make([]int, len(entries))
	for i, e := range entries {
		sql.WriteString(e.Creating() + ";\n")
		positions[i] = e.Position
	}
	return pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
		if err := Run(ctx, tx, sql.String()); err != nil {
			return fmt.Errorf("creating %s on the target: %w", entries[0], err)
		}
		if _, err := tx.Exec(ctx, `UPDATE _pgmig.entries SET done = true WHERE position = ANY ($1)`, positions); err != nil {
			return fmt.Errorf("recording %s in the ledger: %w", entries[0], err)
		}
		if check == nil {
			return nil
		}
		return check(tx)
	})
}
