package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
)

// walBeats is how many beats lie between two looks at the WAL that the source keeps.
const walBeats = 10

// whileWatched calls do and looks meanwhile, on a session of its own, how much WAL the source keeps for the slot: nothing
// else does while tables are copied for hours. A slot that is lost ends do.
func (a *attempt) whileWatched(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if failure := a.watchWAL(ctx); failure != nil {
			cancel(failure)
		}
	}()
	err := do(ctx)
	cancel(nil)
	<-done
	var lost *Failure
	if errors.As(context.Cause(ctx), &lost) {
		return lost
	}
	return err
}

// watchWAL warns when the source keeps more than half of the WAL that it allows, and gives a failure when it has removed
// some that is needed. A source that cannot be reached is the matter of those who work with it.
func (a *attempt) watchWAL(ctx context.Context) *Failure {
	ticker := time.NewTicker(walBeats * a.engine.Settings.Beat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		state, err := a.lookAtSlot(ctx)
		if err != nil {
			continue
		}
		var lost *Failure
		if errors.As(a.slotFailure(state), &lost) {
			return lost
		}
		if state.Limit > 0 && state.Behind > state.Limit/2 {
			a.warn(fmt.Sprintf("The source keeps more than half of the %d MB of WAL that it allows a replication slot (max_slot_wal_keep_size): "+
				"beyond that the replication is lost", state.Limit>>20))
		}
	}
}

// lookAtSlot asks for the slot on a session of its own.
func (a *attempt) lookAtSlot(ctx context.Context) (capture.SlotState, error) {
	conn, err := a.from.Connect(ctx)
	if err != nil {
		return capture.SlotState{}, err
	}
	defer closeConn(ctx, conn)
	return capture.Source{ID: a.migration.ID, Conn: conn}.SlotState(ctx)
}
