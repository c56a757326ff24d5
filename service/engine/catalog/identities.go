package catalog

import (
	"context"
	_ "embed" // for the query
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// IdentityColumn is a column that is GENERATED ... AS IDENTITY.
type IdentityColumn struct {
	Schema, Table, Column string
}

//go:embed identities.sql
var identitiesSQL string

// AlwaysIdentities gives the columns that are GENERATED ALWAYS AS IDENTITY. An UPDATE cannot write them.
func AlwaysIdentities(ctx context.Context, q Querier) ([]IdentityColumn, error) {
	rows, err := q.Query(ctx, identitiesSQL)
	if err != nil {
		return nil, fmt.Errorf("reading the identity columns: %w", err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[IdentityColumn])
	if err != nil {
		return nil, fmt.Errorf("reading the identity columns: %w", err)
	}
	return columns, nil
}

// Executor is the part of a transaction that SetGenerated needs.
type Executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// SetGenerated makes the column generated "ALWAYS" or "BY DEFAULT".
func (c IdentityColumn) SetGenerated(ctx context.Context, x Executor, when string) error {
	sql := "ALTER TABLE " + pgx.Identifier{c.Schema, c.Table}.Sanitize() + " ALTER COLUMN " + pgx.Identifier{c.Column}.Sanitize() + " SET GENERATED " + when
	if _, err := x.Exec(ctx, sql); err != nil {
		return fmt.Errorf("making identity column %s of table %s.%s generated %s: %w", c.Column, c.Schema, c.Table, when, err)
	}
	return nil
}
