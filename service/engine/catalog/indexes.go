package catalog

import (
	"context"
	_ "embed" // for the query
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Index is one index of a table that holds rows. A constraint has the name of its index.
type Index struct {
	Schema    string // of the index and of its table
	Name      string
	TableName string
	Table     uint32 // OID
}

//go:embed indexes.sql
var indexesSQL string

// Indexes reads the indexes of all tables that hold rows.
func Indexes(ctx context.Context, q Querier) ([]Index, error) {
	rows, err := q.Query(ctx, indexesSQL)
	if err != nil {
		return nil, fmt.Errorf("reading the indexes: %w", err)
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Index])
	if err != nil {
		return nil, fmt.Errorf("reading the indexes: %w", err)
	}
	return indexes, nil
}
