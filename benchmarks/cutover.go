package main

import (
	"context"
	"errors"
)

// measureCutovers stops an application that works on the source, and measures how long it takes until the target can take
// its place.
func (b *bench) measureCutovers(ctx context.Context) error {
	for _, name := range b.databases {
		from, err := b.database(ctx, name)
		if err != nil {
			return err
		}
		for run := 1; run <= b.runs; run++ {
			for _, t := range b.turns(run) {
				if t.follow == nil {
					continue
				}
				m := b.newMeter("cutover", name, t.name, run)
				m.note(b.measureCutover(ctx, m, t, from))
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		}
	}
	return nil
}

func (b *bench) measureCutover(ctx context.Context, m *meter, t tool, from *dataset) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	f, err := b.follow(ctx, t, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.unfollow(ctx, f)) }()
	if err := b.settle(ctx); err != nil {
		return err
	}
	tps, err := b.loadAt(ctx, from, databases[from.name].rate, max(b.seconds/3, 1))
	if err != nil {
		return err
	}
	if err := f.cutOver(ctx, m); err != nil {
		return err
	}
	m.Values["tps"] = tps
	return checkEqual(ctx, b.source.URL(from.name), b.target.URL(f.to.Database), everything)
}
