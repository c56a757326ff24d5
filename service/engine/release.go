package engine

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// release is the stage in which the target is the truth already: an earlier cutover could not know, or tell, that it was opened.
func (a *attempt) release(ctx context.Context) (ledger.Stage, error) {
	a.job.Progress.Unfenced()
	err := cutover.Release(ctx, a.job, a.sides, a.method, a.job.Fence(a.sides.Source.Endpoint))
	return ledger.StageDone, err
}
