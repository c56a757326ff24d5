package logical

import (
	"context"
	"fmt"
	"slices"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// checkSlot gives the state of the slot, or a *failure.Failure when changes are lost with it.
func checkSlot(ctx context.Context, source capture.Source) (capture.SlotState, error) {
	state, err := source.SlotState(ctx)
	if err != nil {
		return state, err
	}
	if lost := slotFailure(source.ID, state); lost != nil {
		return state, lost
	}
	return state, nil
}

// slotFailure says that changes are lost with the slot; else it is nil.
func slotFailure(id string, state capture.SlotState) *failure.Failure {
	switch {
	case !state.Exists:
		return &failure.Failure{
			Code:    failure.SlotLost,
			Message: fmt.Sprintf("The replication slot %s is gone from the source: somebody dropped it, or the source failed over", capture.Slot(id)),
			Hint:    failure.StartAgain,
		}
	case state.Lost:
		return &failure.Failure{
			Code:    failure.SlotLost,
			Message: fmt.Sprintf("The source removed WAL that replication slot %s still needed (max_slot_wal_keep_size)", capture.Slot(id)),
			Hint:    failure.StartAgain,
		}
	}
	return nil
}

// wantCarried makes sure that the changes of all tables come in the stream that begins with the snapshot. One that was created
// after the publication was made is published, and another snapshot is to be taken: snapshot.ErrMoved.
func (l *Logical) wantCarried(ctx context.Context, keeper *snapshot.Keeper, tables []catalog.Table) error {
	unpublished, unidentified, err := l.job.Capture(keeper.Conn()).Lacking(ctx, tables)
	if err != nil || len(unpublished)+len(unidentified) == 0 {
		return err
	}
	l.job.Log.Info("tables are not in the stream yet", "unpublished", len(unpublished), "unidentified", len(unidentified))
	if err := l.Prepare(ctx); err != nil {
		return err
	}
	return snapshot.ErrMoved
}

func sameTables(x, y []catalog.Table) bool {
	return slices.EqualFunc(x, y, func(x, y catalog.Table) bool { return x.OID == y.OID })
}
