package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// How often the online verification is tried again when it could not be made.
const (
	verifyPause    = 10 * time.Second
	verifyPauseMax = 5 * time.Minute
	inSyncPoll     = 200 * time.Millisecond
)

// validate compares the tables that were not found equal yet, once the replication is in sync, and ends when all are. What keeps it
// from comparing keeps nothing else from going on: it is tried again. A difference is a *differenceError.
func (a *attempt) validate(ctx context.Context, l *live) error {
	for pause := verifyPause; ; pause = min(2*pause, verifyPauseMax) {
		if err := a.awaitInSync(ctx); err != nil {
			return err
		}
		err := a.verifyOnline(ctx, l, func(s *tableState) bool { return s.validation != Validated })
		var difference *differenceError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &difference):
			return err
		}
		a.log.Warn("the tables cannot be compared now", "error", err, "pause", pause.String())
		a.warn("The tables could not be compared yet; it is tried again: " + brief(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *attempt) awaitInSync(ctx context.Context) error {
	ticker := time.NewTicker(inSyncPoll)
	defer ticker.Stop()
	for {
		a.mu.Lock()
		inSync := a.phase == PhaseInSync
		a.mu.Unlock()
		if inSync {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changed says whether the table was changed since it was found equal, or never was.
func (s *tableState) changed() bool {
	return s.validation != Validated || s.deferred || pglogrepl.LSN(s.changes.Changed.Load()) >= s.validatedAt
}

// verifyOnline compares the tables that are chosen, while writers and the apply go on. Differences are a *differenceError.
// Of two calls at once, one waits for the other.
func (r *Replication) verifyOnline(ctx context.Context, l *live, choose func(*tableState) bool) error {
	if err := r.verifying.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.verifying.Release(1)
	var tables []catalog.Table
	r.mu.Lock()
	for _, t := range l.tables {
		if s := r.tables[t.OID]; !s.deferred && choose(s) {
			tables = append(tables, t)
		}
	}
	r.mu.Unlock()
	if len(tables) == 0 {
		return nil
	}
	m, err := l.takeMoment(ctx, r.migration.ID, r.engine.Settings.VerifyWait)
	if err != nil {
		return err
	}
	defer m.close(ctx)
	r.log.Info("comparing", "tables", len(tables), "lsn", m.lsn.String(), "stall", m.stall.String())
	return r.compare(ctx, comparison{
		sides:  sides(m.source.Conn(), m.target.Conn()),
		source: m.source.Dialer(l.source.Connect),
		target: m.target.Dialer(l.target.Connect),
		at:     m.lsn,
	}, tables)
}

// comparison is where tables are compared.
type comparison struct {
	sides          verify.Sides
	source, target verify.Dial
	at             pglogrepl.LSN       // both show exactly the source's transactions that commit before it
	report         func(verify.Result) // called with Replication.mu held; may be nil
}

// compare compares tables and keeps what it finds. Differences are a *differenceError.
func (r *Replication) compare(ctx context.Context, c comparison, tables []catalog.Table) error {
	before := make(map[uint32]Validation, len(tables))
	r.mu.Lock()
	for _, t := range tables {
		s := r.tables[t.OID]
		before[t.OID], s.validation = s.validation, ValidationPending
	}
	r.mu.Unlock()
	difference := &differenceError{}
	var rewritten error
	err := c.sides.Compare(ctx, c.source, c.target, tables, r.engine.Settings.CopyWorkers, func(result verify.Result) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if result.Rewritten {
			rewritten = fmt.Errorf("table %s was truncated or rewritten while it was compared", result.Table)
			return
		}
		delete(before, result.Table.OID)
		s := r.tables[result.Table.OID]
		if result.Equal() {
			s.validation, s.validatedAt, s.content = Validated, c.at, result.Source
		} else {
			s.validation = Mismatched
			difference.tables = append(difference.tables, distrusted{oid: result.Table.OID, deferred: s.deferred, why: result.Describe()})
		}
		if c.report != nil {
			c.report(result)
		}
	})
	r.mu.Lock()
	for oid, validation := range before { // of which nothing was learnt
		r.tables[oid].validation = validation
	}
	r.mu.Unlock()
	switch {
	case len(difference.tables) > 0:
		return difference
	case err != nil:
		return err
	}
	return rewritten
}
