package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
)

// ours is one migration by our engine.
type ours struct {
	engine      *engine.Engine
	migration   engine.Migration
	replication *engine.Replication
	cancel      context.CancelFunc
	ended       chan struct{}
	err         error // to be read after ended
}

func newOurs(b *bench, from *database, to postgres.Login) follower {
	return b.newMigration(from, to)
}

func (b *bench) newMigration(from *database, to postgres.Login) *ours {
	o := &ours{engine: b.engine, migration: engine.Migration{
		ID: fmt.Sprintf("%08x", rand.Uint32()), //nolint:gosec // a name needs no secrecy
		Databases: func(context.Context) (engine.Database, engine.Database, error) {
			return over(from.login), over(to), nil
		},
	}}
	return o
}

func over(l postgres.Login) engine.Database {
	return engine.Database{Host: l.Host, Port: l.Port, Name: l.Database, User: l.User, Password: l.Password, TLS: engine.TLS{Mode: engine.TLSDisable}}
}

// looks is how often we look at what the engine does.
const looks = 5 * time.Millisecond

// copyOurs measures up to the stream, and then what the finalization adds that the others have done by then: sequences and
// foreign keys. The wait for the stream and the verification in between are no part of a copy.
func (b *bench) copyOurs(ctx context.Context, m *meter, from *database, to postgres.Login) (err error) {
	o := b.newMigration(from, to)
	defer func() { err = errors.Join(err, o.remove(context.WithoutCancel(ctx))) }()
	stop, err := b.startProfile(fmt.Sprintf("copy-%s-%d.pprof", from.name, m.Run))
	if err != nil {
		return err
	}
	phase := engine.PhasePreparing
	m.begin()
	_ = o.resume(ctx)
	for phase != engine.PhaseCatchingUp && phase != engine.PhaseInSync {
		if err := o.look(ctx); err != nil {
			stop()
			return err
		}
		if next := o.replication.Progress().Phase; next != phase {
			m.end(string(phase))
			phase = next
		}
	}
	stop()
	if err := o.inSync(ctx); err != nil {
		return err
	}
	finalized := make(chan error, 1)
	go func() { finalized <- o.finalize(ctx) }()
	for measuring := false; ; {
		select {
		case err := <-finalized:
			return err
		case <-time.After(looks):
		}
		if finishing := o.finishing(); finishing != measuring {
			if measuring = finishing; measuring {
				m.begin()
			} else {
				m.end("finish")
			}
		}
	}
}

// finishing says whether the finalization does now what belongs to a copy.
func (o *ours) finishing() bool {
	steps := o.replication.FinalizationProgress().Steps
	return len(steps) > 0 && slices.Contains([]string{"sequences", "constraints", "opening"}, steps[len(steps)-1].Name)
}

// look waits a moment, and tells if the replication has ended, which it must not.
func (o *ours) look(ctx context.Context) error {
	select {
	case <-o.ended:
		return fmt.Errorf("the replication ended: %w", o.err)
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(looks):
		return nil
	}
}

func (o *ours) inSync(ctx context.Context) error {
	for !o.replication.Progress().InSync {
		if err := o.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (o *ours) finalize(ctx context.Context) error {
	return o.replication.Finalize(ctx, func(context.Context) error { return nil })
}

func (o *ours) start(ctx context.Context) error {
	if err := o.resume(ctx); err != nil {
		return err
	}
	return o.inSync(ctx)
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
		return fmt.Errorf("the replication ended: %w", o.err)
	}
	return nil
}

// cutOver's seconds are those in which nobody may write to the source.
func (o *ours) cutOver(ctx context.Context, m *meter) error {
	if err := o.inSync(ctx); err != nil {
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
