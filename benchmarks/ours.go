package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// ours is one migration by our engine.
type ours struct {
	engine      *engine.Engine
	migration   engine.Migration
	replication *engine.Replication
	stages      stages
	cancel      context.CancelFunc
	ended       chan struct{}
	err         error // to be read after ended
}

func newOurs(b *bench, from *dataset, to postgres.Login) follower {
	return b.newMigration(from, to, b.settings)
}

// newOursVerifyingAll verifies all tables under the fence, also those that have not changed since they were found equal.
func newOursVerifyingAll(b *bench, from *dataset, to postgres.Login) follower {
	settings := b.settings
	settings.VerifyAll = true
	return b.newMigration(from, to, settings)
}

func (b *bench) newMigration(from *dataset, to postgres.Login, settings engine.Settings) *ours {
	log := newStages(slog.NewTextHandler(b.log, nil))
	return &ours{
		engine: &engine.Engine{Settings: settings, Log: slog.New(log)},
		stages: log,
		migration: engine.Migration{
			ID: fmt.Sprintf("%08x", rand.Uint32()), //nolint:gosec // a name needs no secrecy
			Databases: func(context.Context) (database.Database, database.Database, error) {
				return over(from.login), over(to), nil
			},
		},
	}
}

func over(l postgres.Login) database.Database {
	return database.Database{Host: l.Host, Port: l.Port, Name: l.Database, User: l.User, Password: l.Password, TLS: database.TLS{Mode: database.TLSDisable}}
}

// copyOurs measures up to the stream, and then what the finalization adds that the others have done by then: sequences and
// foreign keys. The wait for the stream and the verification in between are no part of a copy.
func (b *bench) copyOurs(ctx context.Context, m *meter, from *dataset, to postgres.Login) (err error) {
	o := b.newMigration(from, to, b.settings)
	defer func() { err = errors.Join(err, o.remove(context.WithoutCancel(ctx))) }()
	if err := o.copy(ctx, m, b); err != nil {
		return err
	}
	if err := o.ready(ctx); err != nil {
		return err
	}
	finalized := make(chan error, 1)
	go func() { finalized <- o.finalize(ctx) }()
	for finishing := false; ; {
		select {
		case stage := <-o.stages.begins:
			switch {
			case stage == "sequences":
				finishing = true
				m.begin()
			case stage == "release" && finishing:
				finishing = false
				m.end("finish")
			}
		case err := <-finalized:
			return err
		}
	}
}

// copy measures up to the stream.
func (o *ours) copy(ctx context.Context, m *meter, b *bench) error {
	stop, err := b.startProfile(fmt.Sprintf("copy-%s-%d.pprof", m.Database, m.Run))
	if err != nil {
		return err
	}
	defer stop()
	phase := string(progress.Preparing)
	m.begin()
	_ = o.resume(ctx)
	for phase != string(progress.CatchingUp) {
		select {
		case next := <-o.stages.begins:
			m.end(phase)
			phase = next
		case <-o.ended:
			return fmt.Errorf("running the replication: %w", o.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// until waits for a state of the replication, which must not end.
func (o *ours) until(ctx context.Context, reached func(progress.Progress) bool) error {
	for !reached(o.replication.Progress()) {
		select {
		case <-o.ended:
			return fmt.Errorf("running the replication: %w", o.err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// ready waits until the tables were found equal for the first time, after which the replication does nothing but apply.
func (o *ours) ready(ctx context.Context) error {
	return o.until(ctx, func(p progress.Progress) bool {
		return p.InSync && !slices.ContainsFunc(p.Tables, func(t progress.TableProgress) bool { return t.Verification != progress.Verified })
	})
}

func (o *ours) finalize(ctx context.Context) error {
	return o.replication.Finalize(ctx, func(context.Context) error { return nil })
}

func (o *ours) start(ctx context.Context) error {
	if err := o.resume(ctx); err != nil {
		return err
	}
	return o.ready(ctx)
}

func (o *ours) resume(ctx context.Context) error {
	o.migration.Epoch++
	o.replication = o.engine.NewReplication(o.migration)
	ctx, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	o.ended = make(chan struct{})
	go func() {
		defer close(o.ended)
		o.err = o.replication.Run(ctx)
	}()
	return nil
}

func (o *ours) pause(context.Context) error {
	o.cancel()
	<-o.ended
	if !errors.Is(o.err, context.Canceled) {
		return fmt.Errorf("running the replication: %w", o.err)
	}
	return nil
}

// cutOver's seconds are those in which nobody may write to the source.
func (o *ours) cutOver(ctx context.Context, m *meter) error {
	if err := o.until(ctx, func(p progress.Progress) bool { return p.InSync }); err != nil {
		return err
	}
	if err := o.finalize(ctx); err != nil {
		return err
	}
	progress := o.replication.FinalizationProgress()
	m.Seconds = progress.FencedSeconds
	m.Values = map[string]float64{"without verification": m.Seconds}
	for _, s := range progress.Steps {
		m.Steps = append(m.Steps, step{Name: s.Name, Seconds: *s.Seconds})
		if s.Name == "verification" {
			m.Values["without verification"] -= *s.Seconds
		}
	}
	return nil
}

func (o *ours) remove(ctx context.Context) error {
	if o.cancel != nil {
		o.cancel()
		<-o.ended
	}
	o.migration.Epoch++
	return o.engine.Remove(ctx, o.migration, false)
}
