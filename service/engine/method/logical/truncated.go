package logical

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// tellsTruncates is the first version of which the stream tells that a table was truncated.
const tellsTruncates = 11

// checkTruncated gives, for a source that does not tell, the tables that were truncated or rewritten since they were copied.
func checkTruncated(ctx context.Context, board *progress.Board, source *pgx.Conn) error {
	if catalog.Major(source) >= tellsTruncates {
		return nil
	}
	tables, err := catalog.TablesNow(ctx, source)
	if err != nil {
		return err
	}
	var difference trust.DifferenceError
	for _, t := range tables {
		known, found := board.Table(t.OID)
		if found && known.Phase == progress.TableReplicating && known.Catalog.Filenode != t.Filenode {
			difference.Tables = append(difference.Tables, trust.Distrusted{
				OID: t.OID, Natural: true, Why: fmt.Sprintf("table %s was truncated or rewritten, which PostgreSQL 10 does not tell", t),
			})
		}
	}
	if len(difference.Tables) == 0 {
		return nil
	}
	return &difference
}

// becauseTruncated gives the better reason for a change that did not find what it expected, if a TRUNCATE that the source
// does not tell is one.
func becauseTruncated(ctx context.Context, board *progress.Board, source *pgx.Conn, cause error) error {
	if len(trust.Distrust(cause)) == 0 {
		return cause
	}
	var truncated *trust.DifferenceError
	if errors.As(checkTruncated(ctx, board, source), &truncated) {
		return truncated
	}
	return cause
}
