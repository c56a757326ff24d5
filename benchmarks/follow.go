package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// following is a tool that carries changes from one database to another.
type following struct {
	tool
	follower
	from *dataset
	to   postgres.Login
	*heart
}

// follow starts a tool. Its end is the caller's.
func (b *bench) follow(ctx context.Context, t tool, from *dataset) (*following, error) {
	to, err := b.newTarget(ctx)
	if err != nil {
		return nil, err
	}
	f := &following{tool: t, follower: t.follow(b, from, to), from: from, to: to}
	if err := f.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", t.name, err), b.unfollow(ctx, f))
	}
	if f.heart, err = b.newHeart(ctx, from, to); err != nil {
		return nil, errors.Join(err, b.unfollow(ctx, f))
	}
	return f, nil
}

func (b *bench) unfollow(ctx context.Context, f *following) error {
	ctx = context.WithoutCancel(ctx)
	if f.heart != nil {
		f.close(ctx)
	}
	return errors.Join(f.remove(ctx), b.target.DropDatabase(ctx, f.to.Database))
}

// withFollowers starts all tools that can follow the pgbench database, pauses them, and gives them to do.
func (b *bench) withFollowers(ctx context.Context, do func(*dataset, map[string]*following) error) (err error) {
	from, err := b.database(ctx, "pgbench")
	if err != nil {
		return err
	}
	followers := map[string]*following{}
	defer func() {
		for _, f := range followers {
			err = errors.Join(err, b.unfollow(ctx, f))
		}
	}()
	for _, t := range b.turns(1) {
		if t.follow == nil || t.onlyCutover {
			continue
		}
		b.say("starting %s", t.name)
		f, err := b.follow(ctx, t, from)
		if err != nil {
			return err
		}
		followers[t.name] = f
		if err := f.pause(ctx); err != nil {
			return err
		}
	}
	return do(from, followers)
}

// contentsEqual compares the rows of a follower's databases, which both stand still.
func (b *bench) contentsEqual(ctx context.Context, f *following) error {
	return checkEqual(ctx, b.source.URL(f.from.name), b.target.URL(f.to.Database), rows)
}
