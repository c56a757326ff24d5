package main

import (
	"context"
	"fmt"
	"strconv"
)

// measureApply lets changes pile up on the source while all tools are paused, and then lets one after the other apply the same
// changes.
func (b *bench) measureApply(ctx context.Context) error {
	return b.withFollowers(ctx, func(from *dataset, followers map[string]*following) error {
		for run := 1; run <= b.runs; run++ {
			b.say("making a backlog of %d transactions", b.backlog)
			const clients = 4
			if err := execute(ctx, b.source.URL(from.name), "ALTER ROLE "+from.login.User+" SET synchronous_commit = off"); err != nil {
				return err
			}
			_, err := b.load(ctx, from, "--client="+strconv.Itoa(clients), "--transactions="+strconv.Itoa(b.backlog/clients), "--random-seed="+strconv.Itoa(run))
			if err != nil {
				return err
			}
			if err := execute(ctx, b.source.URL(from.name), "ALTER ROLE "+from.login.User+" RESET synchronous_commit"); err != nil {
				return err
			}
			mark, err := query[int64](ctx, from.login.URL(), "UPDATE public.heartbeat SET beat = beat + 1 RETURNING beat")
			if err != nil {
				return err
			}
			for _, t := range b.turns(run) {
				f := followers[t.name]
				if f == nil {
					continue
				}
				f.last = mark
				m := b.newMeter("apply", from.name, t.name, run)
				m.note(b.measureBacklog(ctx, m, f))
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		}
		return nil
	})
}

func (b *bench) measureBacklog(ctx context.Context, m *meter, f *following) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := b.settle(ctx); err != nil {
		return err
	}
	stop := func() {}
	if f.name == "ours" {
		var err error
		if stop, err = b.startProfile(fmt.Sprintf("apply-%d.pprof", m.Run)); err != nil {
			return err
		}
	}
	err := m.step("apply", func() error {
		if err := f.resume(ctx); err != nil {
			return err
		}
		return f.await(ctx)
	})
	stop()
	if err != nil {
		return err
	}
	m.Values = map[string]float64{"transactions/s": float64(b.backlog) / m.Seconds}
	if err := f.pause(ctx); err != nil {
		return err
	}
	return b.contentsEqual(ctx, f)
}
