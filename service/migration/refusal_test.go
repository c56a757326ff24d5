package migration_test

import (
	"context"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
)

// nothingBegins fails the test if the engine is asked for a finalization, or for another run, in the next moments.
func (h *house) nothingBegins(r *run) {
	h.t.Helper()
	select {
	case <-r.finalizations:
		h.t.Error("a finalization begins")
	case <-h.engine.runs:
		h.t.Error("the worker begins anew")
	case <-time.After(2 * time.Second):
	}
}

// The worker that was to give a finalization up has died: the next one gives it up, and does not go on with what it read before.
func TestACancelledFinalizationStaysCancelledAfterATakeover(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	h.work("b")
	h.finalize(h.begin())
	h.exec(killed + `, finalization_cancelled = true`)
	second := receive(t, h.engine.runs, takeover)
	second.inSync()
	h.eventually("the finalization is gone", soon, func() bool {
		_, err := h.Finalization(t.Context(), token, names)
		return isMissing(err)
	})
	h.nothingBegins(second)
	select {
	case <-second.finished:
		t.Error("the worker has stopped the replication too")
	default:
	}
	if f, err := h.Finalization(t.Context(), token, names); !isMissing(err) {
		t.Errorf("it is back: %+v, %v", f, err)
	}
	h.replicationIs(migration.InSync)
}

// Whoever gives a finalization up in the moment of the opening comes too late.
func TestAnOpeningIsNotGivenUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	f := h.finalize(r)
	// At once, so that no round of the worker is in between.
	h.exec(`UPDATE migrations SET finalization_cancelled = true, opened = true`)
	h.nothingBegins(r)
	f.answer <- nil
	r.end <- nil
	h.finalizationIs(migration.Completed)
	h.replicationIs(migration.Completed)
	if shown, err := h.Finalization(t.Context(), token, names); err != nil || shown.StartedAt == nil {
		t.Errorf("%+v, %v", shown, err)
	}
}

// The row decides. A worker that finds another one than it left stops, and nothing is stored over it.
func TestAWorkerDoesNotStoreOverWhatHasEnded(t *testing.T) {
	t.Parallel()
	for _, status := range []migration.Status{migration.Failed, migration.Completed} {
		t.Run(string(status), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.work("a")
			r := h.begin()
			h.replicationIs(migration.Running)
			h.exec(`UPDATE migrations SET replication_status = $1`, string(status))
			receive(t, r.finished, soon)
			h.nothingBegins(r)
			h.replicationIs(status)
		})
	}
}

// A finalization that was given up in the moment when its replication failed does not come back, and the replication is FAILED.
func TestAReplicationFailsWithoutTheFinalizationThatWasGivenUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work("a")
	r := h.begin()
	f := h.finalize(r)
	r.end <- &failure.Failure{Code: failure.SlotLost, Message: "gone"}
	time.Sleep(time.Second) // the worker waits for the finalization now, and reads nothing meanwhile
	h.must(h.DeleteFinalization(t.Context(), token, names))
	f.answer <- context.Canceled
	h.replicationIs(migration.Failed)
	if f, err := h.Finalization(t.Context(), token, names); !isMissing(err) {
		t.Errorf("%+v, %v", f, err)
	}
}
