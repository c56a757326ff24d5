package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// measureLag measures how far behind the target is while an application works on the source at a given rate.
func (b *bench) measureLag(ctx context.Context) error {
	return b.withFollowers(ctx, func(from *dataset, followers map[string]*following) error {
		for _, word := range b.rates {
			rate, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			for run := 1; run <= b.runs; run++ {
				for _, t := range b.turns(run) {
					f := followers[t.name]
					if f == nil {
						continue
					}
					m := b.newMeter("lag", from.name+" at "+word+" tps", t.name, run)
					m.note(b.measureLagOf(ctx, m, f, rate))
					if ctx.Err() != nil {
						return ctx.Err()
					}
				}
			}
		}
		return nil
	})
}

func (b *bench) measureLagOf(ctx context.Context, m *meter, f *following, rate int) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := b.settle(ctx); err != nil {
		return err
	}
	if err := f.resume(ctx); err != nil {
		return err
	}
	var err error
	if f.last, err = query[int64](ctx, f.from.login.URL(), "SELECT beat FROM public.heartbeat"); err != nil {
		return err
	}
	if err := f.arrive(ctx); err != nil { // what other tools' turns have left
		return err
	}
	if err := f.ready(ctx); err != nil {
		return err
	}
	clear(f.sent)
	var (
		tps  float64
		lags []float64
	)
	m.begin()
	working, done := context.WithCancel(ctx)
	defer done()
	group, groupCtx := errgroup.WithContext(working)
	group.Go(func() error { return f.sendBeats(groupCtx) })
	group.Go(func() (err error) {
		lags, err = f.seeBeats(groupCtx)
		return err
	})
	tps, err = b.loadAt(ctx, f.from, rate, b.seconds)
	done()
	if waitErr := group.Wait(); err == nil {
		err = waitErr
	}
	m.end("load")
	if err != nil {
		return err
	}
	drained := time.Now()
	if err := f.arrive(ctx); err != nil {
		return err
	}
	// A beat that was on its way when the load ended was at least that late.
	for _, sent := range f.sent {
		lags = append(lags, time.Since(sent).Seconds())
	}
	slices.Sort(lags)
	m.Values = map[string]float64{
		"tps": tps, "p50": percentile(lags, 50), "p95": percentile(lags, 95), "max": percentile(lags, 100),
		"drain": time.Since(drained).Seconds(),
	}
	if err := f.pause(ctx); err != nil {
		return err
	}
	return b.contentsEqual(ctx, f)
}

// percentile reads sorted values.
func percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	return values[(len(values)-1)*p/100]
}
