// Package job is what each room of the engine is given of the migration that it works for.
package job

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// RetryPause is how long to wait before what a passing fault has kept from being done is tried again.
const RetryPause = time.Second

// Job is one migration as one worker drives it. It is safe for concurrent use.
type Job struct {
	ID       string // 8 lower-case hex digits
	Epoch    int64
	Settings Settings
	Ledger   ledger.Ledger
	Progress *progress.Board
	Log      *slog.Logger
	// Databases gives the newest credentials.
	Databases func(context.Context) (source, target database.Database, err error)
	// OnReached is told of each point between the durable steps of the migration; nil: nobody is.
	OnReached func(point string)

	noRoom atomic.Pointer[database.Side]
}

// Reached tells a test that a worker that dies now leaves behind all before this point and nothing after it.
func (j *Job) Reached(point string) {
	if j.OnReached != nil {
		j.OnReached(point)
	}
}

// Enter says that a phase has begun.
func (j *Job) Enter(phase progress.Phase) {
	j.Reached(string(phase))
	j.Progress.Enter(phase)
}

// Endpoints gives the two databases with the newest credentials.
func (j *Job) Endpoints(ctx context.Context) (source, target database.Endpoint, err error) {
	s, t, err := j.Databases(ctx)
	if err != nil {
		return database.Endpoint{}, database.Endpoint{}, fmt.Errorf("reading the credentials of the databases: %w", err)
	}
	application := database.Application(j.ID, j.Epoch)
	return database.Endpoint{Database: s, Side: database.Source, Application: application, NoRoom: &j.noRoom},
		database.Endpoint{Database: t, Side: database.Target, Application: application, NoRoom: &j.noRoom}, nil
}

// Full gives the side whose lock table was the last that was found full; empty: none was.
func (j *Job) Full() database.Side {
	if side := j.noRoom.Load(); side != nil {
		return *side
	}
	return ""
}

// Capture is the migration's part of the source, by a session with it.
func (j *Job) Capture(source *pgx.Conn) capture.Source {
	return capture.Source{ID: j.ID, Epoch: j.Epoch, Conn: source}
}

// Fence is the migration's fence on the source.
func (j *Job) Fence(source database.Endpoint) *fence.Fence {
	return &fence.Fence{Source: j.Capture(nil), Dial: source.Connect}
}

// Side is one of the two databases: how it is reached, and a session with it. The session is for one goroutine at a time.
type Side struct {
	Endpoint database.Endpoint
	Conn     *pgx.Conn
}

// Sides are both databases as one attempt, or one cutover, works with them.
type Sides struct{ Source, Target Side }

// ReadTables makes the board know the tables of the ledger as they are on the source now. One that is gone is a failure.
func (j *Job) ReadTables(ctx context.Context, s Sides, analyzed bool) error {
	entries, err := j.Ledger.Tables(ctx, s.Target.Conn)
	if err != nil {
		return err
	}
	tables, err := catalog.TablesNow(ctx, s.Source.Conn)
	if err != nil {
		return err
	}
	if missing := j.Progress.TablesRead(entries, tables, analyzed); missing != nil {
		return &failure.Failure{
			Code:    failure.SchemaChanged,
			Message: fmt.Sprintf("The schema of the source was changed during the replication: table %s.%s is gone", missing.Schema, missing.Name),
			Hint:    failure.StartAgain,
		}
	}
	return nil
}
