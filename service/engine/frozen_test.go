package engine_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/logbook"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/cutover"
)

var everyPoint = flag.Bool("every-point", false, "freeze workers at every point, and not only in the cutover")

// frozen is what a worker prints before it stops.
const frozen = "frozen"

// hang is the longest time that anybody may wait because of a worker that is frozen.
const hang = 30 * time.Second

// freeze runs a worker that stops at a point. What it gives lets it go on, and waits for its end.
func (p *pair) freeze(t *testing.T, point string, finalize bool) (thaw func() string) {
	t.Helper()
	settings := p.engine.Settings
	settings.CopyWorkers, settings.IndexWorkers = 1, 1
	settings.Beat = 20 * time.Millisecond
	settings.GiveUpAfter = 10 * time.Second
	text, err := json.Marshal(doomed{
		Source: databaseOf(p.source), Target: databaseOf(p.target), ID: p.migration.ID, Epoch: p.migration.Epoch,
		Settings: settings, Point: point, Finalize: finalize, Freeze: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.migration.Epoch++
	var output logbook.Book
	worker := exec.CommandContext(t.Context(), os.Args[0])
	worker.Env = append(os.Environ(), doomedVariable+"="+string(text))
	worker.Stdout, worker.Stderr = &output, &output
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(hang); !strings.Contains(output.String(), frozen); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = worker.Process.Kill()
			_ = worker.Wait()
			t.Fatalf("a worker that was to stop at %q does not:\n%s", point, output.String())
		}
	}
	return func() string {
		t.Helper()
		_ = worker.Process.Signal(syscall.SIGCONT)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = worker.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(hang):
			_ = worker.Process.Kill()
			<-ended
			t.Errorf("a worker that was replaced while it stood at %q goes on:\n%s", point, output.String())
		}
		return output.String()
	}
}

// within fails the test if something hangs.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(hang):
		t.Fatalf("%s hangs", what)
	}
}

// Traps 67 to 69: a worker that is frozen for so long that another one takes over holds nobody up, and changes nothing when it
// goes on, on neither side.
func TestFrozenWorkers(t *testing.T) {
	t.Parallel()
	p, before := newKilledPair(t)
	for _, point := range cutover.PointsOf(steps()) {
		thaw := p.freeze(t, point, true)
		if !p.opened(t) {
			r := p.takeOver(t, point, thaw)
			r.waitInSync(t)
			r.stop()
			_ = r.ended(t)
			p.migration.Epoch++
			continue
		}
		within(t, "the worker that takes over from one that stood at "+point, func() {
			if err := p.run(t).ended(t); err != nil {
				t.Errorf("the worker that takes over from one that stood at %q ends with %v", point, err)
			}
		})
		thaw()
		if query(t, p.source, `SELECT count(*)::text FROM pg_trigger WHERE tgname = '_pgmig_refuse'`) == "0" {
			t.Errorf("a worker that stood at %q has let writers in again", point)
		}
		p.migration.Epoch++
		p.migration.Opened = true
		p.wantGone(t, before)
		p, before = newKilledPair(t)
	}
	r := p.run(t)
	r.waitVerified(t)
	r.finalize(t)
	p.wantGone(t, before)
}

// Traps 67 to 69, before the cutover.
func TestFrozenWorkersBeforeTheCutover(t *testing.T) {
	t.Parallel()
	points := engine.Points()
	if !*everyPoint {
		points = points[len(points)-1:]
	}
	for _, point := range points {
		p, before := newKilledPair(t)
		r := p.takeOver(t, point, p.freeze(t, point, false))
		r.waitVerified(t)
		r.finalize(t)
		p.wantGone(t, before)
	}
}

// takeOver lets another worker take over from one that stands at a point, and then lets that one go on.
func (p *pair) takeOver(t *testing.T, point string, thaw func() string) *running {
	t.Helper()
	var r *running
	within(t, "the worker that takes over from one that stood at "+point, func() {
		r = p.run(t)
		r.waitInSync(t)
	})
	within(t, "a write while a worker stands at "+point, func() { p.writeMore(t) })
	output := thaw()
	within(t, "a write after a worker went on that stood at "+point, func() { p.writeMore(t) })
	if slices.Contains(strings.Split(output, "\n"), said) {
		t.Errorf("a worker that stood at %q has opened the target:\n%s", point, output)
	}
	if triggers := query(t, p.source, `SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE '\_pgmig%'`); triggers != "0" {
		t.Errorf("a worker that stood at %q leaves %s triggers", point, triggers)
	}
	return r
}

// wantGone removes a migration that has succeeded, and compares what is left.
func (p *pair) wantGone(t *testing.T, before string) {
	t.Helper()
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	p.checkEqual(t)
}
