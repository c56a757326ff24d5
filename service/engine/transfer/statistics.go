package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// analyzesOnly is the first version that can gather statistics of a table without those below it. Before, a partitioned table
// always takes all of its partitions along, and there is no need to gather theirs one by one.
const analyzesOnly = 18

// families are the parents on the target whose statistics are to be gathered when the tables below them are complete.
type families struct {
	due   []catalog.Family
	later map[string]bool // tables whose statistics come with those of a parent; by their names as SQL
}

// readFamilies finds the parents of tables that are copied now or of which there are no statistics yet.
func (t *transfer) readFamilies(ctx context.Context, tables map[uint32]progress.Table) error {
	news := map[string]bool{}
	for oid, known := range tables {
		_, copied := t.later[oid]
		news[known.Catalog.SQLName()] = copied || !known.Analyzed
	}
	only := catalog.Major(t.sides.Target.Conn) >= analyzesOnly
	all, err := catalog.Families(ctx, t.sides.Target.Conn, only)
	if err != nil {
		return err
	}
	t.families.later = map[string]bool{}
	for _, f := range all {
		if !slices.ContainsFunc(f.Members, func(member string) bool { return news[member] }) {
			continue
		}
		t.families.due = append(t.families.due, f)
		for _, member := range f.Members {
			t.families.later[member] = t.families.later[member] || (f.Partitioned && !only)
		}
	}
	return nil
}

// analyze gathers the statistics of one table, by its name as SQL.
func analyze(ctx context.Context, conn *pgx.Conn, table string) error {
	only := ""
	if catalog.Major(conn) >= analyzesOnly {
		only = "ONLY "
	}
	if _, err := conn.Exec(ctx, "ANALYZE "+only+table); err != nil {
		return fmt.Errorf("gathering statistics of table %s on the target: %w", table, err)
	}
	return nil
}

// analyzeFamilies gathers the statistics that parents have of the rows of all tables below them. Nobody else does: autovacuum
// looks at each table alone.
func (t *transfer) analyzeFamilies(ctx context.Context) error {
	queue := make(chan catalog.Family, len(t.families.due))
	for _, f := range t.families.due {
		queue <- f
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	for range min(max(t.job.Settings.IndexWorkers, 1), len(t.families.due)) {
		group.Go(func() error {
			conn, err := t.connectBulk(ctx)
			if err != nil {
				return err
			}
			defer database.Close(ctx, conn)
			for f := range queue {
				if err := t.analyzeFamily(ctx, conn, f); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, known := range t.job.Progress.Tables() {
		if t.families.later[known.Catalog.SQLName()] {
			t.job.Progress.TableAnalyzed(known.Catalog.OID)
		}
	}
	return nil
}

// analyzeFamily gathers a parent's statistics. They are no reason to fail: the server locks all tables below it at once, for
// which it may have no room, and reads foreign ones, which may be away.
func (t *transfer) analyzeFamily(ctx context.Context, conn *pgx.Conn, f catalog.Family) error {
	err := analyze(ctx, conn, f.Parent)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || conn.IsClosed() {
		return err
	}
	t.job.Log.Warn("gathering statistics", "error", err)
	t.job.Progress.Warn("Run ANALYZE " + f.Parent + " on the target, which failed: " + failure.Brief(err))
	for _, member := range f.Members {
		if t.families.later[member] {
			if err := analyze(ctx, conn, member); err != nil {
				return err
			}
		}
	}
	return nil
}
