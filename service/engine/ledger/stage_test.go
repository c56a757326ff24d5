package ledger_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// The ledger goes only from where it stands, only where the table leads, and only with the newest worker.
func TestOnlyNamedStagesFollow(t *testing.T) {
	t.Parallel()
	all := []ledger.Stage{ledger.StageNone, ledger.StageSchema, ledger.StageCopying, ledger.StageStream, ledger.StageOpened, ledger.StageDone, "unknown"}
	next := map[ledger.Stage][]ledger.Stage{
		ledger.StageSchema:  {ledger.StageCopying},
		ledger.StageCopying: {ledger.StageStream},
		ledger.StageStream:  {ledger.StageCopying, ledger.StageOpened},
	}
	_, conn := newLedger(t, start)
	stage := func() (stage ledger.Stage) {
		if err := conn.QueryRow(t.Context(), `SELECT stage FROM _pgmig.progress`).Scan(&stage); err != nil {
			t.Fatal(err)
		}
		return stage
	}
	l := worker(1)
	l.Next = next
	for _, way := range []ledger.Stage{ledger.StageSchema, ledger.StageCopying, ledger.StageStream, ledger.StageCopying, ledger.StageStream, ledger.StageOpened} {
		if way != ledger.StageSchema { // where a ledger begins
			if err := l.SetStage(t.Context(), conn, stage(), way); err != nil {
				t.Fatalf("to %q: %v", way, err)
			}
		}
		for _, from := range all {
			for _, to := range all {
				allowed := from == way && (to == ledger.StageCopying && way != ledger.StageCopying || to == ledger.StageStream && way == ledger.StageCopying || to == ledger.StageOpened && way == ledger.StageStream)
				if allowed && way != ledger.StageOpened {
					continue // taken in their turn
				}
				var wrong *ledger.StageError
				if err := l.SetStage(t.Context(), conn, from, to); !errors.As(err, &wrong) || wrong.From != from || wrong.To != to {
					t.Errorf("at %q from %q to %q: %v", way, from, to, err)
				}
				if now := stage(); now != way {
					t.Fatalf("from %q to %q the ledger went from %q to %q", from, to, way, now)
				}
			}
		}
	}
}

func TestAWorkerThatWasReplacedSetsNoStage(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, start)
	takeOver(t, conn, 2)
	l := worker(1)
	l.Next = map[ledger.Stage][]ledger.Stage{ledger.StageSchema: {ledger.StageCopying}}
	if err := l.SetStage(t.Context(), conn, ledger.StageSchema, ledger.StageCopying); !errors.Is(err, ledger.ErrTakenOver) {
		t.Errorf("it gets %v", err)
	}
	l.Epoch = 2
	// What fails afterwards takes the stage back.
	sentinel := errors.New("something failed")
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		if err := l.SetStage(t.Context(), tx, ledger.StageSchema, ledger.StageCopying); err != nil {
			return err
		}
		return sentinel
	})
	if !errors.Is(err, sentinel) {
		t.Fatal(err)
	}
	if err := l.SetStage(t.Context(), conn, ledger.StageSchema, ledger.StageCopying); err != nil {
		t.Error(err)
	}
}
