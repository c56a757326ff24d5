package engine

import (
	"context"
	"errors"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method/logical"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method/offline"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// attempt is one try to bring the migration forward, with a session with each database.
type attempt struct {
	engine    *Engine
	migration Migration
	job       *job.Job
	requests  <-chan request
	sides     job.Sides
	name      ledger.Method    // of the method
	method    method.Method    // nil until it is decided
	anchor    *snapshot.Anchor // the first snapshot, from begin until all is copied; nil without
	answer    func()           // tells whoever asked for a finalization that failed with the attempt; nil without
}

// request is a finalization that was asked for.
type request struct {
	ctx    context.Context //nolint:containedctx // the caller's, for as long as it waits for the outcome
	opened func(context.Context) error
	result chan<- error // has room for the outcome
}

var (
	// errNotYet says that the replication was in sync only just before: the request is to be made again.
	errNotYet = errors.New("the replication is not in sync any more")
	// errNotFinalized says that a finalization has failed.
	errNotFinalized = errors.New("the finalization failed")
)

// choose takes over the method, which is decided once and is in the ledger.
func (a *attempt) choose(name ledger.Method, reason string) {
	a.name, a.method = name, a.newMethod(name, a.sides)
	a.job.Progress.MethodChosen(name, reason)
}

// newMethod gives the method of that name, by these sessions.
func (a *attempt) newMethod(name ledger.Method, s job.Sides) method.Method {
	if name == ledger.Offline {
		return offline.New(a.job, s)
	}
	return logical.New(a.job, s)
}

// pass records a stage that no other transaction records.
func (a *attempt) pass(ctx context.Context, from, to ledger.Stage) (ledger.Stage, error) {
	return to, a.job.Ledger.SetStage(ctx, a.sides.Target.Conn, from, to)
}

// letGo lets the first snapshot go, and with it the source's horizon for VACUUM.
func (a *attempt) letGo(ctx context.Context) {
	if a.anchor != nil {
		a.anchor.Close(ctx)
		a.anchor = nil
	}
}

// close ends the attempt: its sessions, and what somebody waits for.
func (a *attempt) close(ctx context.Context) {
	a.letGo(ctx)
	if a.answer != nil {
		a.answer()
	}
	for _, s := range []job.Side{a.sides.Source, a.sides.Target} {
		if s.Conn != nil {
			database.Close(ctx, s.Conn)
		}
	}
}
