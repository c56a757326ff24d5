package catalog

import (
	"context"
	_ "embed" // for the query
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Family is a table with the tables below it.
type Family struct {
	Parent      string   // as SQL
	Partitioned bool     // else it holds rows of its own, and others inherit from it
	Members     []string // tables that hold rows, at any depth; as SQL
}

//go:embed families.sql
var familiesSQL string

// Families reads the partitioned tables and those that others inherit from; with inner, partitioned tables that are
// partitions have a family of their own, too.
func Families(ctx context.Context, q Querier, inner bool) ([]Family, error) {
	rows, err := q.Query(ctx, familiesSQL, inner)
	if err != nil {
		return nil, fmt.Errorf("reading the tables below others: %w", err)
	}
	families, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f Family, err error) {
		var (
			namespace, name   string
			namespaces, names []string
		)
		if err := row.Scan(&namespace, &name, &f.Partitioned, &namespaces, &names); err != nil {
			return f, err
		}
		f.Parent = pgx.Identifier{namespace, name}.Sanitize()
		for i := range names {
			f.Members = append(f.Members, pgx.Identifier{namespaces[i], names[i]}.Sanitize())
		}
		return f, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tables below others: %w", err)
	}
	return families, nil
}
