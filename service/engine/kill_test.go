package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// doomedVariable makes a process of this test binary a worker. It holds a doomed.
const doomedVariable = "PG_MIGRATE_TEST_WORKER"

// doomed is a worker in a process of its own, which kills itself.
type doomed struct {
	Source, Target database.Database
	ID             string
	Epoch          int64
	Settings       engine.Settings
	Point          string // where it kills itself; empty: somebody else does
	Finalize       bool
	Freeze         bool // it stops at the point instead, and goes on when it is told to
}

// said is what a doomed worker prints when it was told that the target is opened.
const said = "opened"

// work is a worker's process.
func work(text string) {
	var d doomed
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		panic(err)
	}
	e := &engine.Engine{Settings: d.Settings, Log: slog.New(slog.DiscardHandler)}
	e.SetSteps(steps())
	e.OnReached(func(point string) {
		if point == d.Point && d.Freeze {
			fmt.Println(frozen)
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			d.Point = ""
		} else if point == d.Point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	databases := func(context.Context) (database.Database, database.Database, error) { return d.Source, d.Target, nil }
	r := e.NewReplication(engine.Migration{ID: d.ID, Epoch: d.Epoch, Databases: databases})
	go func() {
		for ; d.Finalize; time.Sleep(10 * time.Millisecond) {
			if !r.Progress().InSync {
				continue
			}
			if err := r.Finalize(context.Background(), func(context.Context) error { fmt.Println(said); return nil }); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			return
		}
	}()
	fmt.Println("the worker ended:", r.Run(context.Background()))
	os.Exit(1)
}

// kill runs a worker that kills itself at a point, or is killed when the condition is met. It gives what the worker has said.
func (p *pair) kill(t *testing.T, point string, finalize bool, when func() bool) string {
	t.Helper()
	settings := p.engine.Settings
	settings.CopyWorkers, settings.IndexWorkers = 1, 1 // so that all points are met
	settings.Beat = 20 * time.Millisecond
	text, err := json.Marshal(doomed{
		Source: databaseOf(p.source), Target: databaseOf(p.target), ID: p.migration.ID, Epoch: p.migration.Epoch,
		Settings: settings, Point: point, Finalize: finalize,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.migration.Epoch++
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var output bytes.Buffer
	worker := exec.CommandContext(ctx, os.Args[0])
	worker.Env = append(os.Environ(), doomedVariable+"="+string(text))
	worker.Stdout, worker.Stderr = &output, &output
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	if when != nil {
		for !when() && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		_ = worker.Process.Kill()
	}
	err = worker.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || ctx.Err() != nil {
		t.Fatalf("a worker that was to die at %q: %v, %v\n%s", point, err, ctx.Err(), output.String())
	}
	return output.String()
}

// steps are those of a cutover with one more, which no test knows by its name.
func steps() []cutover.Step {
	added := cutover.Step{Name: "added", From: cutover.Fenced, Do: func(*cutover.Cutover, context.Context) error { return nil }}
	steps := cutover.Steps()
	return slices.Insert(steps, len(steps)/2, added)
}

// newKilledPair is a migration that has something to do in every step.
func newKilledPair(t *testing.T) (p *pair, before string) {
	t.Helper()
	p = newPair(t)
	execute(t, p.source, `
		CREATE TABLE big (id serial PRIMARY KEY, v text);
		INSERT INTO big (v) SELECT md5(i::text) FROM generate_series(1, 5000) AS i;
		CREATE INDEX ON big (v);
		CREATE TABLE small (id int PRIMARY KEY, big int REFERENCES big);
		INSERT INTO small SELECT i, i FROM generate_series(1, 100) AS i;
		CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
		INSERT INTO parted SELECT i FROM generate_series(1, 50) AS i;
		CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
		INSERT INTO unlogged VALUES (1);
		SELECT lo_from_bytea(0, 'object')`)
	return p, p.sourceState(t)
}

func (p *pair) writeMore(t *testing.T) {
	t.Helper()
	execute(t, p.source, `INSERT INTO big (v) VALUES ('new'); UPDATE big SET v = v || '.' WHERE id % 100 = 0; DELETE FROM small WHERE id % 50 = 7`)
}

// opened says whether the target is the truth.
func (p *pair) opened(t *testing.T) bool {
	t.Helper()
	return query(t, p.target, `SELECT (to_regclass('_pgmig.progress') IS NULL)::text`) == "true" ||
		query(t, p.target, `SELECT stage FROM _pgmig.progress`) == string(ledger.StageOpened)
}

// wantReleased goes on after a worker that died when the target was opened, and looks at what is left.
func (p *pair) wantReleased(t *testing.T, before string) {
	t.Helper()
	for _, point := range engine.OpenedPoints() {
		p.kill(t, point, false, nil)
	}
	if err := p.run(t).ended(t); err != nil {
		t.Errorf("the last worker ended with %v", err)
	}
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	p.checkEqual(t)
}

// Traps 23, 25, 54 and 55: workers are killed wherever the code says that a step ends, one after the other, and each goes on
// where the last one died.
func TestWorkersThatAreKilledAtEachStep(t *testing.T) {
	t.Parallel()
	p, before := newKilledPair(t)
	for _, point := range engine.Points() {
		p.kill(t, point, false, nil)
		p.writeMore(t)
	}

	// In the middle of the first transaction on the target, and after it.
	lock, err := connect(t, p.target.URL()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `LOCK TABLE big IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	p.kill(t, "", false, func() bool {
		return query(t, p.target, `SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'big'::regclass`) != "0"
	})
	_ = lock.Rollback(t.Context())
	p.writeMore(t)
	const written = `SELECT count(*)::text FROM big WHERE v = 'new'`
	all := query(t, p.source, written)
	p.kill(t, "", false, func() bool { return query(t, p.target, written) == all })

	met := 0
	for _, point := range cutover.PointsOf(steps()) {
		output := p.kill(t, point, true, nil)
		if !p.opened(t) {
			if output != "" {
				t.Errorf("at %q the opening was reported before it was made", point)
			}
			continue
		}
		met++
		t.Logf("at %q the target is the truth; the worker has said %q", point, output)
		p.wantReleased(t, before)
		p, before = newKilledPair(t)
	}
	if met < 3 {
		t.Errorf("only %d points lie behind the opening", met)
	}
}
