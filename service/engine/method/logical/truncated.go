package logical

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// checkTruncated gives, for a source that does not tell, the tables that were truncated or rewritten since they were copied.
func checkTruncated(ctx context.Context, board *progress.Board, source *pgx.Conn) error {
	if catalog.Major(source) >= capture.TellsTruncates {
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

// Because names a TRUNCATE that the source does not tell as the reason, if there was one.
func (l *Logical) Because(ctx context.Context, cause error) error {
	source, err := l.sides.Source.Endpoint.Connect(ctx) // that of the attempt may have been broken off
	if err != nil {
		return cause
	}
	defer database.Close(ctx, source)
	var truncated *trust.DifferenceError
	if errors.As(checkTruncated(ctx, l.job.Progress, source), &truncated) {
		return truncated
	}
	return cause
}
