package state_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// found gives the status that a refusal names, and fails the test if err is none.
func found(t *testing.T, err error) string {
	t.Helper()
	var refusal *state.StatusError
	if !errors.As(err, &refusal) {
		t.Fatalf("not refused: %v", err)
	}
	return refusal.Found
}

// Every change of a status, over one that it must not follow.
func TestAChangeIsStoredOnlyOverWhatItMayFollow(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustCreate(t, s, "00000001")
	lease := mustLease(t, s, "00000001", "a", long)
	ctx := t.Context()
	if _, err := s.Pool().Exec(ctx, `UPDATE migrations SET finalization_status = $1, finalization_cancelled = true`, good); err != nil {
		t.Fatal(err)
	}
	row := func() (text string) {
		t.Helper()
		if err := s.Pool().QueryRow(ctx, `SELECT to_jsonb(m)::text FROM migrations m`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	inTx := func(do func(pgx.Tx) error) error { return s.InTx(ctx, do) }
	change := state.Change{To: busy, From: []string{"", bad}, Ended: true, Takes: anything}
	for what, c := range map[string]struct {
		do    func() error
		found string
	}{
		"replication":  {func() error { return lease.SaveReplication(ctx, change, []byte(`{}`), []byte(`{}`)) }, fresh},
		"finalization": {func() error { return lease.SaveFinalization(ctx, change, []byte(`{}`), []byte(`{}`)) }, good},
		"forget":       {func() error { return lease.ForgetFinalization(ctx, change.From) }, good},
		"request": {func() error {
			return inTx(func(tx pgx.Tx) error { return s.RequestFinalization(ctx, tx, "00000001", change) })
		}, good},
		"drop": {func() error {
			return inTx(func(tx pgx.Tx) error { return s.DropFinalization(ctx, tx, "00000001", change.From) })
		}, good},
	} {
		before := row()
		if got := found(t, c.do()); got != c.found {
			t.Errorf("%s: refused because of %q", what, got)
		}
		if after := row(); after != before {
			t.Errorf("%s: the row was\n%s\nand is\n%s", what, before, after)
		}
	}
	for what, do := range map[string]func(tx pgx.Tx) error{
		"request": func(tx pgx.Tx) error { return s.RequestFinalization(ctx, tx, "ffffffff", change) },
		"drop":    func(tx pgx.Tx) error { return s.DropFinalization(ctx, tx, "ffffffff", change.From) },
	} {
		if err := inTx(do); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s of no migration: %v", what, err)
		}
	}
	if err := inTx(func(tx pgx.Tx) error { return s.DropFinalization(ctx, tx, "00000001", []string{good}) }); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Get(ctx, "00000001"); err != nil || m.FinalizationStatus != "" || m.FinalizationCancelled || m.ReplicationStatus != fresh {
		t.Errorf("dropped: %+v, %v", m, err)
	}
}

// Of two writers the second one finds what the first one stored, even if it was not stored when the second one began.
func TestTheRowDecidesBetweenTwoWriters(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	change := state.Change{To: busy, From: []string{"", fresh}}
	for what, c := range map[string]struct {
		first  string
		second func(*state.Store, *state.Lease) error
	}{
		"replication": {
			`UPDATE migrations SET replication_status = 'bad'`,
			func(_ *state.Store, l *state.Lease) error { return l.SaveReplication(ctx, change, nil, nil) },
		},
		"finalization": {
			`UPDATE migrations SET finalization_status = 'bad'`,
			func(_ *state.Store, l *state.Lease) error { return l.SaveFinalization(ctx, change, nil, nil) },
		},
		"request": {
			`UPDATE migrations SET finalization_status = 'bad'`,
			func(s *state.Store, _ *state.Lease) error {
				return s.InTx(ctx, func(tx pgx.Tx) error { return s.RequestFinalization(ctx, tx, "00000001", change) })
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			mustCreate(t, s, "00000001")
			lease := mustLease(t, s, "00000001", "a", long)
			tx, err := s.Pool().Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
			if _, err := tx.Exec(ctx, c.first); err != nil {
				t.Fatal(err)
			}
			second := make(chan error, 1)
			go func() { second <- c.second(s, lease) }()
			waits(t, s)
			if err := tx.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			if got := found(t, <-second); got != bad {
				t.Errorf("refused because of %q", got)
			}
		})
	}
}

// A finalization that is asked for while the replication fails fails too.
func TestAReplicationTakesWhatWasAskedForMeanwhile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	mustCreate(t, s, "00000001")
	lease := mustLease(t, s, "00000001", "a", long)
	second := make(chan error, 1)
	if err := s.InTx(ctx, func(tx pgx.Tx) error {
		if err := s.RequestFinalization(ctx, tx, "00000001", to(fresh)); err != nil {
			return err
		}
		change := to(bad)
		change.Takes = []string{fresh}
		go func() { second <- lease.SaveReplication(ctx, change, []byte(`{}`), nil) }()
		waits(t, s)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if m, err := s.Get(ctx, "00000001"); err != nil || m.FinalizationStatus != bad || m.FinalizationFailure == nil {
		t.Errorf("%+v, %v", m, err)
	}
}

// waits waits until a session of the database waits for another one.
func waits(t *testing.T, s *state.Store) {
	t.Helper()
	const sql = `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var waiting bool
		if err := s.Pool().QueryRow(t.Context(), sql).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting {
			return
		}
	}
	t.Fatal("nobody waits")
}
