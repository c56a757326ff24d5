package engine

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/transfer"
)

// stage is a state of the machine.
type stage struct {
	do     func(*attempt, context.Context) (ledger.Stage, error) // brings the migration to the stage that it gives
	next   []ledger.Stage                                        // where it may lead; the ledger refuses any other
	phase  progress.Phase                                        // what people are shown when it begins
	points []string                                              // where, in their order, tests end workers in it
}

// stages is the whole life of a migration:
//
//	        begin            build             copy            follow             release
//	none ------------> schema ------> copying ------> stream ------------> opened --------> done
//	                                     ^               |
//	                                     +-- distrust ---+
var stages = map[ledger.Stage]stage{
	ledger.StageNone: {
		do: (*attempt).begin, next: []ledger.Stage{ledger.StageSchema},
		phase: progress.Preparing, points: []string{string(progress.Snapshot), string(progress.Schema)},
	},
	ledger.StageSchema: {
		do: (*attempt).build, next: []ledger.Stage{ledger.StageCopying},
		phase: progress.Schema,
	},
	ledger.StageCopying: {
		do: (*attempt).copy, next: []ledger.Stage{ledger.StageStream},
		phase: progress.Copying, points: transfer.Points(),
	},
	ledger.StageStream: {
		do: (*attempt).follow, next: []ledger.Stage{ledger.StageOpened, ledger.StageCopying},
		phase: progress.CatchingUp, points: cutover.PointsOf(cutover.Steps()),
	},
	ledger.StageOpened: {
		do: (*attempt).release, next: []ledger.Stage{ledger.StageDone},
		phase: progress.Finalizing, points: []string{cutover.SourceReleased},
	},
}

// nextStages is what the ledger enforces.
func nextStages() map[ledger.Stage][]ledger.Stage {
	next := make(map[ledger.Stage][]ledger.Stage, len(stages))
	for from, s := range stages {
		next[from] = s.next
	}
	return next
}

// stagePoint is where a test may end a worker: when the stage begins.
func stagePoint(s ledger.Stage) string {
	if s == ledger.StageNone {
		return "stage none"
	}
	return "stage " + string(s)
}
