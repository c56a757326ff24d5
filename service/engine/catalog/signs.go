package catalog

import (
	"context"
	_ "embed" // for the query
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Sign is what a table shows of having been changed, besides its rows. Two that are equal do not prove that nothing was changed;
// two that are not equal say that nobody knows.
type Sign struct {
	Filenode uint32 // 0: the table is not there
	Written  int64  // rows, as far as sessions have told
}

//go:embed signs.sql
var signsSQL string

// Signs reads the signs of all tables as of now, whatever snapshot the session has, by their OIDs.
func Signs(ctx context.Context, q Querier) (map[uint32]Sign, error) {
	rows, err := q.Query(ctx, signsSQL)
	if err != nil {
		return nil, fmt.Errorf("reading what tables show of changes: %w", err)
	}
	signs := map[uint32]Sign{}
	var (
		oid uint32
		s   Sign
	)
	if _, err := pgx.ForEachRow(rows, []any{&oid, &s.Filenode, &s.Written}, func() error {
		signs[oid] = s
		return nil
	}); err != nil {
		return nil, fmt.Errorf("reading what tables show of changes: %w", err)
	}
	return signs, nil
}
