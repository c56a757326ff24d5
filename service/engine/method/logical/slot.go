package logical

import (
	"context"
	"fmt"
	"slices"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
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

func sameTables(x, y []catalog.Table) bool {
	return slices.EqualFunc(x, y, func(x, y catalog.Table) bool { return x.OID == y.OID })
}
