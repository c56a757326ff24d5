package engine

import (
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// OnReached makes the engine call f between the durable steps of its migrations.
func (e *Engine) OnReached(f func(point string)) { e.reached = f }

// SetSteps makes the engine's cutovers take other steps.
func (e *Engine) SetSteps(steps []cutover.Step) { e.steps = steps }

// Points gives the points before the cutover at which workers are killed, in their order.
func Points() []string {
	var points []string
	for s := ledger.StageNone; s != ledger.StageStream; s = stages[s].next[0] {
		points = append(points, pointsOf(s)...)
	}
	return append(points, stagePoint(ledger.StageStream), string(stages[ledger.StageStream].phase))
}

// OpenedPoints gives those behind it.
func OpenedPoints() []string { return pointsOf(ledger.StageOpened) }

func pointsOf(s ledger.Stage) []string {
	return append([]string{stagePoint(s), string(stages[s].phase)}, stages[s].points...)
}
