package engine

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method/logical"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method/offline"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
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

// newMethod gives the method of that name, by these sessions.
func (r *Replication) newMethod(name ledger.Method, s job.Sides) method.Method {
	if name == ledger.Offline {
		return offline.New(r.job, s)
	}
	return logical.New(r.job, s)
}

// attempt is one try to bring the migration forward, with a session with each database.
type attempt struct {
	replication *Replication
	job         *job.Job
	sides       job.Sides
	method      method.Method    // nil until it is decided
	name        ledger.Method    // of the method
	anchor      *snapshot.Anchor // the first snapshot, from begin until it is copied from; nil without
}

// connect opens the attempt's sessions, and gives the stage from which it goes on. What is given without an error has to be
// closed.
func (r *Replication) connect(ctx context.Context) (_ *attempt, _ ledger.Stage, err error) {
	source, target, err := r.job.Endpoints(ctx)
	if err != nil {
		return nil, "", err
	}
	a := &attempt{replication: r, job: r.job, sides: job.Sides{Source: job.Side{Endpoint: source}, Target: job.Side{Endpoint: target}}}
	defer func() {
		if err != nil {
			a.close(ctx)
		}
	}()
	if a.sides.Target.Conn, err = target.Connect(ctx); err != nil {
		return nil, "", r.firstContact(ctx, err)
	}
	known, err := r.job.Ledger.TakeOver(ctx, a.sides.Target.Conn)
	if err != nil {
		return nil, "", err
	}
	if known.Stage == ledger.StageNone && r.migration.Opened {
		return a, ledger.StageDone, nil // the ledger is the last thing that a finished migration removes
	}
	if a.sides.Source.Conn, err = source.Connect(ctx); err != nil {
		if known.Stage == ledger.StageNone {
			err = r.firstContact(ctx, err)
		}
		return nil, "", err
	}
	if known.Stage == ledger.StageNone {
		return a, known.Stage, nil
	}
	a.choose(known.Method, known.Reason)
	if known.Stage == ledger.StageOpened {
		return a, known.Stage, nil
	}
	return a, known.Stage, a.resume(ctx, known)
}

// choose takes over the method, which is decided once and is in the ledger.
func (a *attempt) choose(name ledger.Method, reason string) {
	a.name, a.method = name, a.replication.newMethod(name, a.sides)
	a.job.Progress.MethodChosen(name, reason)
}

// resume makes sure that the source is not left fenced, and is still the one that the ledger knows.
func (a *attempt) resume(ctx context.Context, known ledger.Progress) error {
	if err := a.job.Fence(a.sides.Source.Endpoint).Lift(ctx, a.sides.Source.Conn); err != nil {
		return err
	}
	a.job.Progress.Unfenced()
	if err := a.method.Check(ctx, known); err != nil {
		return err
	}
	return a.job.ReadTables(ctx, a.sides, false)
}

// release is the stage in which the target is the truth already: an earlier cutover could not know, or tell, that it was opened.
func (a *attempt) release(ctx context.Context) (ledger.Stage, error) {
	a.job.Progress.Unfenced()
	err := cutover.Release(ctx, a.job, a.sides, a.method, a.job.Fence(a.sides.Source.Endpoint))
	return ledger.StageDone, err
}

func (a *attempt) close(ctx context.Context) {
	if a.anchor != nil {
		a.anchor.Close(ctx)
	}
	for _, s := range []job.Side{a.sides.Source, a.sides.Target} {
		if s.Conn != nil {
			database.Close(ctx, s.Conn)
		}
	}
}
