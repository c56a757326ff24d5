// Package offline serves a source that cannot replicate. Nothing is captured there: the schema is copied at once, and all
// rows in the finalization, under the fence.
package offline

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// Offline is the method, as one attempt uses it. It is for one goroutine at a time.
type Offline struct {
	job     *job.Job
	sides   job.Sides
	capture capture.Source // by the source's session
}

// New gives the method to an attempt with these sessions.
func New(j *job.Job, s job.Sides) *Offline {
	return &Offline{job: j, sides: s, capture: j.Capture(s.Source.Conn)}
}

// Deferred says that all tables are copied under the fence.
func (*Offline) Deferred() bool { return true }

// Prepare makes our records. An attempt that died before it had a ledger may have begun by logical decoding.
func (o *Offline) Prepare(ctx context.Context) error {
	if err := o.Release(ctx); err != nil {
		return err
	}
	return o.capture.PrepareRecords(ctx)
}

// Anchor takes a snapshot of now, which has no position.
func (o *Offline) Anchor(ctx context.Context) (*snapshot.Anchor, error) {
	o.job.Enter(progress.Snapshot)
	return snapshot.Now(ctx, o.sides.Source.Endpoint.Connect)
}

// AnchorAgain takes another one.
func (o *Offline) AnchorAgain(ctx context.Context) (*snapshot.Anchor, error) {
	return snapshot.Now(ctx, o.sides.Source.Endpoint.Connect)
}

// While calls do: the source keeps nothing that could be lost.
func (o *Offline) While(ctx context.Context, do func(context.Context) error) error { return do(ctx) }

// Check has nothing to look at: every finalization copies everything anew.
func (o *Offline) Check(context.Context, ledger.Progress) error { return nil }

// Because knows no reason but the cause.
func (o *Offline) Because(_ context.Context, cause error) error { return cause }

// Release takes away what an attempt by logical decoding may have left.
func (o *Offline) Release(ctx context.Context) error {
	if err := o.capture.DropSlot(ctx, o.sides.Source.Endpoint.ConnectReplication); err != nil {
		return err
	}
	return o.capture.Unpublish(ctx)
}

const (
	databaseSizeSQL = `SELECT pg_catalog.pg_database_size(pg_catalog.current_database())`

	// share is how many times its estimated duration an offline copy may take, on top of the finalization's own limit.
	share = 3
	// epochInterval is how often the ledger is asked whether another worker has taken over.
	epochInterval = 10 * time.Second
)

// Follow waits, ready to be finalized, until it is stopped, ctx ends, or another worker takes over.
func (o *Offline) Follow(ctx context.Context) (method.Following, error) {
	if err := o.job.ReadTables(ctx, o.sides, false); err != nil {
		return nil, err
	}
	var size int64
	if err := o.sides.Source.Conn.QueryRow(ctx, databaseSizeSQL).Scan(&size); err != nil {
		return nil, fmt.Errorf("reading the size of the source: %w", err)
	}
	text := preflight.OfflineText(size)
	o.job.Progress.Warn(strings.ToUpper(text[:1]) + text[1:])
	o.job.Progress.CutoverExpected(share * preflight.OfflineTime(size))
	running, cancel := context.WithCancel(ctx)
	w := &waiting{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer cancel()
		err := o.watchEpoch(running)
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.stopped {
			w.err = err
		}
	}()
	o.job.Enter(progress.InSync)
	return w, nil
}

func (o *Offline) watchEpoch(ctx context.Context) error {
	ticker := time.NewTicker(epochInterval)
	defer ticker.Stop()
	for {
		if err := o.job.Ledger.CheckEpoch(ctx, o.sides.Target.Conn); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting is what the stream is to the logical method.
type waiting struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended

	mu      sync.Mutex // guards what follows
	stopped bool
	err     error
}

// Done is closed when the waiting is over.
func (w *waiting) Done() <-chan struct{} { return w.done }

// Err says why it is.
func (w *waiting) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stop ends the waiting.
func (w *waiting) Stop() error {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.cancel()
	<-w.done
	return w.Err()
}

// Drain has nothing to wait for: nothing is on its way.
func (w *waiting) Drain(context.Context, *pgx.Conn) error { return nil }

// Position is 0: there are none.
func (w *waiting) Position() pglogrepl.LSN { return 0 }

// Moment gives none: the target is still empty.
func (w *waiting) Moment(context.Context, time.Duration) (*trust.Moment, error) {
	return nil, trust.ErrNoMoment
}
