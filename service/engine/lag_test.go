package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

// A script that saw IN-SYNC and asks for the finalization need not know that the target fell behind for a moment since.
func TestAFinalizationWaitsUntilTheTargetHasCaughtUp(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `CREATE TABLE a (id int PRIMARY KEY, text text)`)
	r := p.run(t)
	r.waitInSync(t)
	lock, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `LOCK TABLE a IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	execute(t, p.source, `INSERT INTO a SELECT n, repeat('x', 1000) FROM generate_series(1, 4000) AS n`)
	r.waitFor(t, "lag", func(p progress.Progress) bool { return !p.InSync })
	finalized := make(chan error, 1)
	go func() { finalized <- r.Finalize(t.Context(), func(context.Context) error { return nil }) }()
	select {
	case err := <-finalized:
		t.Fatalf("the finalization ended: %v", err)
	case <-time.After(time.Second):
	}
	if steps := r.FinalizationProgress().Steps; len(steps) > 0 {
		t.Errorf("the finalization has begun: %+v", steps)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-finalized; err != nil {
		t.Fatal(err)
	}
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
	if count := query(t, p.target, `SELECT count(*)::text FROM a`); count != "4000" {
		t.Errorf("%s rows are on the target", count)
	}
}
