package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// limit ends a measurement that does not end by itself.
const limit = 15 * time.Minute

// measureCopies copies each database with each tool, into an empty database each time.
func (b *bench) measureCopies(ctx context.Context) error {
	for _, name := range b.databases {
		from, err := b.database(ctx, name)
		if err != nil {
			return err
		}
		for run := 1; run <= b.runs; run++ {
			for _, t := range b.turns(run) {
				if t.copy == nil {
					continue
				}
				m := b.newMeter("copy", name, t.name, run)
				m.note(b.measureCopy(ctx, m, t, from))
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		}
	}
	return nil
}

func (b *bench) measureCopy(ctx context.Context, m *meter, t tool, from *dataset) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	to, err := b.newTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.target.DropDatabase(context.WithoutCancel(ctx), to.Database)) }()
	if err := b.settle(ctx); err != nil {
		return err
	}
	if err := t.copy(b, ctx, m, from, to); err != nil {
		return fmt.Errorf("copying database %s: %w", from.name, err)
	}
	m.Values = map[string]float64{"MB": from.megabytes(), "MB/s": from.megabytes() / m.Seconds}
	return checkEqual(ctx, b.source.URL(from.name), b.target.URL(to.Database), everything)
}
