package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// heart changes the row of table heartbeat on the source and looks for it on the target: the one way of telling how far
// behind the target is that treats all tools alike.
type heart struct {
	source, target *pgx.Conn
	last           int64

	mu   sync.Mutex
	sent map[int64]time.Time // beats that have not been seen on the target
}

func (b *bench) newHeart(ctx context.Context, from *dataset, to postgres.Login) (*heart, error) {
	h := &heart{sent: map[int64]time.Time{}}
	var err error
	if h.source, err = pgx.Connect(ctx, from.login.URL()); err != nil {
		return nil, fmt.Errorf("connecting to the source: %w", err)
	}
	if h.target, err = pgx.Connect(ctx, to.URL()); err != nil {
		h.close(ctx)
		return nil, fmt.Errorf("connecting to the target: %w", err)
	}
	if err := h.source.QueryRow(ctx, `SELECT beat FROM public.heartbeat`).Scan(&h.last); err != nil {
		h.close(ctx)
		return nil, fmt.Errorf("reading the heartbeat: %w", err)
	}
	return h, nil
}

func (h *heart) close(ctx context.Context) {
	for _, conn := range []*pgx.Conn{h.source, h.target} {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}
}

func (h *heart) beat(ctx context.Context) error {
	h.last++
	if _, err := h.source.Exec(ctx, `UPDATE public.heartbeat SET beat = $1`, h.last); err != nil {
		return fmt.Errorf("writing the heartbeat: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent[h.last] = time.Now()
	return nil
}

func (h *heart) seen(ctx context.Context) (beat int64, err error) {
	if err := h.target.QueryRow(ctx, `SELECT beat FROM public.heartbeat`).Scan(&beat); err != nil {
		return 0, fmt.Errorf("reading the heartbeat on the target: %w", err)
	}
	return beat, nil
}

// arrive waits until everything that the source holds now is on the target.
func (h *heart) arrive(ctx context.Context) error {
	if err := h.beat(ctx); err != nil {
		return err
	}
	return h.await(ctx)
}

// await waits for the last beat.
func (h *heart) await(ctx context.Context) error {
	return await(ctx, func() (bool, error) {
		beat, err := h.seen(ctx)
		return beat == h.last, err
	})
}

// sendBeats writes to the source until ctx ends.
func (h *heart) sendBeats(ctx context.Context) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		if err := h.beat(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

// seeBeats reads the target until ctx ends, and gives for each beat how long after its commit it was seen.
func (h *heart) seeBeats(ctx context.Context) ([]float64, error) {
	var lags []float64
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return lags, nil
		}
		beat, err := h.seen(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		now := time.Now()
		h.mu.Lock()
		for n, sent := range h.sent {
			if n <= beat {
				lags = append(lags, now.Sub(sent).Seconds())
				delete(h.sent, n)
			}
		}
		h.mu.Unlock()
	}
}
