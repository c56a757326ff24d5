package cutover

import (
	"cmp"
	"context"
	"slices"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/transfer"
)

// copyDeferred copies the tables whose changes nothing carries, the largest first. Under the fence the current state is the last
// one. What an earlier finalization has copied is replaced; the indexes that it has built stay. The step is never left out: it
// also stops what carries changes.
func (c *Cutover) copyDeferred(ctx context.Context) error {
	if err := c.halt(); err != nil {
		return err
	}
	deferred := map[uint32]bool{}
	for _, t := range c.Job.Progress.Tables() {
		if t.Deferred {
			deferred[t.Catalog.OID] = true
		}
	}
	if len(deferred) == 0 {
		return nil
	}
	now, err := snapshot.Now(ctx, c.Source.Connect)
	if err != nil {
		return err
	}
	defer now.Close(ctx)
	tables := slices.DeleteFunc(slices.Clone(now.Tables), func(t catalog.Table) bool { return !deferred[t.OID] })
	slices.SortStableFunc(tables, func(x, y catalog.Table) int { return cmp.Compare(y.Bytes, x.Bytes) })
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.OID
	}
	c.Job.Progress.SnapshotTaken(now.Tables) // with the filenodes of now, when nobody can change them any more
	// Families as large as the database are no matter for the time without writers, unless nobody has looked at them before.
	order := transfer.Order{Keeper: now.Keeper, OIDs: oids, Families: c.method.Deferred()}
	if err := transfer.Tables(ctx, c.Job, c.sides, order); err != nil {
		return err
	}
	for _, oid := range oids {
		c.Job.Progress.TableDeferredAgain(oid)
	}
	return nil
}
