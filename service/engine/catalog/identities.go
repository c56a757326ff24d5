package catalog

import (
	"context"
	_ "embed" // for the query
	"fmt"
	"strings"

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
	return SetAllGenerated(ctx, x, []IdentityColumn{c}, when)
}

// SetAllGenerated is SetGenerated for many columns in one round trip.
func SetAllGenerated(ctx context.Context, x Executor, columns []IdentityColumn, when string) error {
	var sql strings.Builder
	for _, c := range columns {
		sql.WriteString("ALTER TABLE " + pgx.Identifier{c.Schema, c.Table}.Sanitize() + " ALTER COLUMN " + pgx.Identifier{c.Column}.Sanitize() + " SET GENERATED " + when + ";\n")
	}
	if _, err := x.Exec(ctx, sql.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("making identity columns generated %s: %w", when, err)
	}
	return nil
}
