package cutover

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
)

// raiseFence keeps writers off the source, and makes sure that its schema is still the one that the target has.
func (c *Cutover) raiseFence(ctx context.Context) error {
	source := c.sides.Source.Conn
	warning, err := c.fence.ReadOnly(ctx, source)
	if err != nil {
		return err
	}
	if warning != "" {
		c.Job.Progress.Warn("Fence: " + warning)
	}
	if err := c.fence.CreateRefusal(ctx, source); err != nil {
		return err
	}
	var tables fence.Tables
	if tables.Parents, err = catalog.Parents(ctx, source); err != nil {
		return err
	}
	for _, t := range c.Job.Progress.Tables() {
		tables.Rows = append(tables.Rows, t.Catalog.SQLName())
	}
	if err := c.fence.Lock(ctx, source, tables, c.Job.Settings.FenceWait); err != nil {
		return err
	}
	c.schema, err = c.schema.Unchanged(ctx, c.Job, c.sides)
	return err
}

// drain waits until everything that was written before the fence is on the target.
func (c *Cutover) drain(ctx context.Context) error {
	return c.Following.Drain(ctx, c.sides.Source.Conn)
}

// halt stops what carries changes, now that there are none any more.
func (c *Cutover) halt() error {
	if err := c.Following.Stop(); err != nil {
		return method.Interrupted(err)
	}
	return nil
}
