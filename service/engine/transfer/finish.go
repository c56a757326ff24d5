package transfer

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/build"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// finishTables builds indexes and gathers statistics until there is no more to do.
func (t *transfer) finishTables(ctx context.Context) error {
	conn, err := t.connectBulk(ctx)
	if err != nil {
		return err
	}
	defer database.Close(ctx, conn)
	for {
		select {
		case w, more := <-t.works:
			if !more {
				return nil
			}
			if err := t.finish(ctx, conn, w); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *transfer) finish(ctx context.Context, conn *pgx.Conn, w work) error {
	if w.entry != nil {
		if err := build.Entries(ctx, t.job, conn, *w.entry); err != nil {
			return err
		}
		t.job.Reached(build.Built)
	}
	if w.left == nil || w.left.Add(-1) > 0 {
		return nil
	}
	table := w.table.SQLName()
	if t.families.later[table] {
		return nil
	}
	if err := analyze(ctx, conn, table); err != nil {
		return err
	}
	t.job.Progress.TableAnalyzed(w.table.OID)
	return nil
}
