package logical

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
)

// walBeats is how many beats lie between two looks at the WAL that the source keeps.
const walBeats = 10

// While calls do and looks meanwhile, on a session of its own, how much WAL the source keeps for the slot: nothing
// else does while tables are copied for hours. A slot that is lost ends do.
func (l *Logical) While(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if failure := l.watchWAL(ctx); failure != nil {
			cancel(failure)
		}
	}()
	err := do(ctx)
	cancel(nil)
	<-done
	var lost *failure.Failure
	if errors.As(context.Cause(ctx), &lost) {
		return lost
	}
	return err
}

// watchWAL warns when the source keeps more than half of the WAL that it allows, and gives a failure when it has removed
// some that is needed. A source that cannot be reached is the matter of those who work with it.
func (l *Logical) watchWAL(ctx context.Context) *failure.Failure {
	ticker := time.NewTicker(walBeats * l.job.Settings.Beat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		state, err := l.lookAtSlot(ctx)
		if err != nil {
			continue
		}
		if lost := slotFailure(l.job.ID, state); lost != nil {
			return lost
		}
		l.warnOfWAL(state)
	}
}

// warnOfWAL warns when the source keeps more than half of the WAL that it allows.
func (l *Logical) warnOfWAL(state capture.SlotState) {
	if state.Limit > 0 && state.Behind > state.Limit/2 {
		l.job.Progress.Warn(fmt.Sprintf("The source keeps more than half of the %d MB of WAL that it allows a replication slot (max_slot_wal_keep_size): "+
			"beyond that the replication is lost", state.Limit>>20))
	}
}

// lookAtSlot asks for the slot on a session of its own.
func (l *Logical) lookAtSlot(ctx context.Context) (capture.SlotState, error) {
	conn, err := l.sides.Source.Endpoint.Connect(ctx)
	if err != nil {
		return capture.SlotState{}, err
	}
	defer database.Close(ctx, conn)
	return l.job.Capture(conn).SlotState(ctx)
}
