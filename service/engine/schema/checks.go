package schema

import (
	"context"
	_ "embed" // for the query
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Check is a check constraint that may look at more than the row: at other tables, which are not complete while rows are copied
// and changes applied.
type Check struct {
	Owner      string // "TABLE public.orders" or "DOMAIN public.code", as SQL
	Name       string // as SQL
	Definition string // as SQL
	Comment    string // as SQL; empty: none
}

// comment gives the statement that sets the comment.
func (c Check) comment() string {
	return "COMMENT ON CONSTRAINT " + c.Name + " ON " + strings.TrimPrefix(c.Owner, "TABLE ") + " IS " + c.Comment
}

// NotValidatedError says that rows of the target break a constraint, or that they cannot be looked at.
type NotValidatedError struct {
	Check Check
	Err   error
}

func (e *NotValidatedError) Error() string {
	return fmt.Sprintf("check constraint %s of %s is not validated on the target: %v", e.Check.Name, e.Check.Owner, e.Err)
}

func (e *NotValidatedError) Unwrap() error { return e.Err }

//go:embed checks.sql
var checksSQL string

// Checks reads such constraints of the source, in the order to drop and to create them.
func Checks(ctx context.Context, q Querier) ([]Check, error) {
	rows, err := q.Query(ctx, checksSQL)
	if err != nil {
		return nil, fmt.Errorf("reading the check constraints: %w", err)
	}
	checks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Check])
	if err != nil {
		return nil, fmt.Errorf("reading the check constraints: %w", err)
	}
	return checks, nil
}

// StoreChecks writes the constraints to the ledger.
func StoreChecks(ctx context.Context, tx pgx.Tx, checks []Check) error {
	for i, c := range checks {
		const insert = `INSERT INTO _pgmig.checks (position, owner, name, definition, comment) VALUES ($1, $2, $3, $4, $5)`
		if _, err := tx.Exec(ctx, insert, i, c.Owner, c.Name, c.Definition, c.Comment); err != nil {
			return fmt.Errorf("writing check constraint %s to the ledger: %w", c.Name, err)
		}
	}
	return nil
}

// checksPerBatch bounds the locks that a transaction takes.
const checksPerBatch = 100

// TakeChecks takes the constraints in the ledger off the target. It can be called again. There is a transaction for each batch
// of them, at the end of which check is called.
func TakeChecks(ctx context.Context, target *pgx.Conn, check func(pgx.Tx) error) error {
	checks, err := storedChecks(ctx, target)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(checks, checksPerBatch) {
		err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
			for _, c := range batch {
				if _, err := tx.Exec(ctx, "ALTER "+c.Owner+" DROP CONSTRAINT IF EXISTS "+c.Name); err != nil {
					return fmt.Errorf("taking check constraint %s off %s: %w", c.Name, c.Owner, err)
				}
			}
			return check(tx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func storedChecks(ctx context.Context, q Querier) ([]Check, error) {
	rows, err := q.Query(ctx, `SELECT owner, name, definition, comment FROM _pgmig.checks ORDER BY position`)
	if err != nil {
		return nil, fmt.Errorf("reading the check constraints from the ledger: %w", err)
	}
	checks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Check])
	if err != nil {
		return nil, fmt.Errorf("reading the check constraints from the ledger: %w", err)
	}
	return checks, nil
}

// ReturnChecks creates the constraints that TakeChecks took. It names those that rows break, which are left not validated:
// the source has not looked at these rows again since it took them.
func ReturnChecks(ctx context.Context, tx pgx.Tx) (broken []*NotValidatedError, err error) {
	checks, err := storedChecks(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, c := range checks {
		if err := Run(ctx, tx, "ALTER "+c.Owner+" ADD CONSTRAINT "+c.Name+" "+c.Definition+" NOT VALID"); err != nil {
			return nil, fmt.Errorf("creating check constraint %s of %s on the target: %w", c.Name, c.Owner, err)
		}
		err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
			return Run(ctx, savepoint, "ALTER "+c.Owner+" VALIDATE CONSTRAINT "+c.Name)
		})
		switch {
		case hasCode(err, "23514", "0A000"): // check_violation; feature_not_supported: a domain in arrays
			broken = append(broken, &NotValidatedError{Check: c, Err: err})
		case err != nil:
			return nil, fmt.Errorf("validating check constraint %s of %s on the target: %w", c.Name, c.Owner, err)
		}
		if c.Comment == "" {
			continue
		}
		if err := Run(ctx, tx, c.comment()); err != nil {
			return nil, fmt.Errorf("commenting on check constraint %s of %s on the target: %w", c.Name, c.Owner, err)
		}
	}
	return broken, nil
}

func hasCode(err error, codes ...string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains(codes, pg.Code)
}
