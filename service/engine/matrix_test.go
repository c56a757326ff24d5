package engine_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/databases/zoo"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
)

var matrixPairs = flag.String("pairs", "", `versions that TestMatrix migrates between, like "10-18,12-12", or "all"; one pair without it`)

const oldestMajor, newestMajor = 10, 18

// majors are the versions of one migration.
type majors struct{ source, target int }

func (m majors) String() string { return fmt.Sprintf("%d-%d", m.source, m.target) }

// chosenPairs reads the flag. Every pair that is asked for is migrated: a server that is not there is an error.
func chosenPairs(t *testing.T) []majors {
	t.Helper()
	var pairs []majors
	switch *matrixPairs {
	case "":
		return []majors{{sourceMajor, targetMajor}}
	case "all":
		for source := oldestMajor; source <= newestMajor; source++ {
			for target := source; target <= newestMajor; target++ {
				pairs = append(pairs, majors{source, target})
			}
		}
		return pairs
	}
	for _, text := range strings.FieldsFunc(*matrixPairs, func(r rune) bool { return r == ',' || r == ' ' }) {
		var m majors
		if _, err := fmt.Sscanf(text, "%d-%d", &m.source, &m.target); err != nil || m.String() != text {
			t.Fatalf("-pairs: %q is no pair of versions", text)
		}
		pairs = append(pairs, m)
	}
	return pairs
}

// Traps 49 to 51 and 58: sequences, the whole schema and materialized views are compared by the oracle, which knows nothing of the
// engine. Trap 59: with -pairs, versions before 12 have other texts of floating-point numbers.
//
// TestMatrix migrates the zoo between versions while it is changed, and compares both sides afterwards.
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, m := range chosenPairs(t) {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			postgres.ForTest(t, m.source)
			postgres.ForTest(t, m.target)
			start := time.Now()
			migrateZoo(t, m)
			if *matrixPairs != "" {
				result := "ok"
				if t.Failed() {
					result = "FAILED"
				}
				fmt.Printf("%-5s  %-6s  %5.1f s\n", m, result, time.Since(start).Seconds())
			}
		})
	}
}

// roundsInStream is how often the zoo is changed when its copy is over.
const roundsInStream = 2

func migrateZoo(t *testing.T, m majors) {
	t.Helper()
	p := newPairOf(t, m.source, m.target)
	if err := zoo.Load(t.Context(), p.source.URL()); err != nil {
		t.Fatal(err)
	}
	if err := zoo.LoadRest(t.Context(), postgres.ForTest(t, m.source).URL(p.source.Database)); err != nil {
		t.Fatal(err)
	}
	before := p.sourceState(t)
	p.checkZooFindings(t, m)

	changes := changeZoo(p.source)
	t.Cleanup(func() { _, _ = changes.stop() })
	r := p.run(t)
	r.waitInSync(t)
	rounds, err := changes.stop()
	if err != nil {
		t.Fatal(err)
	}
	for range roundsInStream {
		rounds++
		if err := zoo.Change(t.Context(), p.source.URL(), rounds); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d rounds of changes", rounds)
	r.waitInSync(t)
	deferred := map[string]bool{}
	for _, table := range r.Progress().Tables {
		// On a busy machine those that are truncated in each round may be left to the finalization.
		if table.Phase == progress.TableDeferred && (table.Name == "unlogged" || strings.HasPrefix(table.Name, "emptied")) {
			deferred[table.Name] = true
		}
	}
	r.finalize(t)
	for _, table := range r.Progress().Tables {
		if table.Inserts+table.Updates+table.Deletes == 0 && !deferred[table.Name] {
			t.Errorf("no change of table %s.%s was in the stream", table.Schema, table.Name)
		}
	}
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source differs:\n%s", diff(before, after))
	}
	p.compare(t, m)
	p.checkZooLosses(t, m)
}

// TestMatrixOfRefusals makes sure that the preflight check names each thing that cannot be migrated. Versions that only the
// whole matrix has are left to it.
func TestMatrixOfRefusals(t *testing.T) {
	t.Parallel()
	sections, err := zoo.RefusedSections()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		if s.Until != 0 && s.Until < sourceMajor && *matrixPairs == "" {
			continue
		}
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			source := max(sourceMajor, s.Since)
			if s.Until != 0 {
				source = min(source, s.Until)
			}
			p := newPairOf(t, source, targetMajor)
			url := p.source.URL()
			if s.BySuperuser {
				url = postgres.ForTest(t, source).URL(p.source.Database)
			}
			if err := s.Create(t.Context(), connect(t, url)); err != nil {
				t.Fatal(err)
			}
			report, err := p.engine.Preflight(t.Context(), databaseOf(p.source), databaseOf(p.target))
			if err != nil {
				t.Fatal(err)
			}
			named := slices.ContainsFunc(report.Findings, func(f preflight.Finding) bool {
				return f.ID == s.Checks[0] && f.Severity == preflight.Critical
			})
			if !named {
				t.Errorf("no critical finding %v in %+v", s.Checks, report.Findings)
			}
		})
	}
}

// Trap 34: PostgreSQL 10 does not publish TRUNCATE.
//
// TestMatrixOfTruncates empties a table again and again on a source that does not tell so in its stream. It is copied again
// each time, and nobody is blamed.
func TestMatrixOfTruncates(t *testing.T) {
	t.Parallel()
	if *matrixPairs == "" {
		t.Skip("wants PostgreSQL 10: make test-matrix")
	}
	p := newPairOf(t, 10, targetMajor)
	execute(t, p.source, `CREATE TABLE staging (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY); INSERT INTO staging SELECT generate_series(1, 100)`)
	r := p.run(t)
	r.waitInSync(t)
	for round := range 3 {
		execute(t, p.source, `TRUNCATE staging`)
		if round%2 == 1 {
			execute(t, p.source, `INSERT INTO staging SELECT generate_series(50, 60)`) // finds rows in its place on the target
		}
		execute(t, p.source, fmt.Sprintf(`INSERT INTO other VALUES (%d)`, round))
		const count = `SELECT count(*) FROM staging`
		for deadline := time.Now().Add(time.Minute); query(t, p.source, count) != query(t, p.target, count); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the table is not copied again")
			}
		}
	}
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// zooChanges changes the zoo, round after round, until it is stopped.
type zooChanges struct {
	cancel context.CancelFunc
	done   chan struct{}
	rounds int
	err    error
}

func changeZoo(source postgres.Login) *zooChanges {
	ctx, cancel := context.WithCancel(context.Background())
	c := &zooChanges{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for c.err == nil && ctx.Err() == nil {
			c.rounds++
			c.err = zoo.Change(context.WithoutCancel(ctx), source.URL(), c.rounds)
			// A TRUNCATE that falls into the moment of the snapshot makes the replication begin again.
			time.Sleep(500 * time.Millisecond)
		}
	}()
	return c
}

// stop lets the round end and gives its number.
func (c *zooChanges) stop() (rounds int, err error) {
	c.cancel()
	<-c.done
	return c.rounds, c.err
}

// zooSections gives the sections that a server knows.
func zooSections(t *testing.T, major int) []zoo.Section {
	t.Helper()
	all, err := zoo.Sections()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(s zoo.Section) bool { return !s.In(major) })
}

// checkZooFindings compares what the preflight check finds with what the sections of the zoo say that it does.
func (p *pair) checkZooFindings(t *testing.T, m majors) {
	t.Helper()
	report, err := p.engine.Preflight(t.Context(), databaseOf(p.source), databaseOf(p.target))
	if err != nil {
		t.Fatal(err)
	}
	announced, found := map[string]string{}, map[string]bool{}
	if m.target < 13 {
		// The test's own servers hold control files of extensions that they cannot read.
		for _, id := range []string{"S40", "S41", "S42"} {
			report.Findings = slices.DeleteFunc(report.Findings, func(f preflight.Finding) bool {
				return f.ID == id && strings.Contains(f.Text, `unrecognized parameter "trusted"`)
			})
		}
	}
	for _, s := range zooSections(t, m.source) {
		for _, id := range s.Checks {
			announced[id] = s.Kind
		}
	}
	for _, f := range report.Findings {
		found[f.ID] = true
		if _, ok := announced[f.ID]; !ok {
			t.Errorf("no section of the zoo says that the preflight check finds %+v", f)
		}
	}
	for id, kind := range announced {
		if !found[id] {
			t.Errorf("the preflight check does not find %s (%s)", id, kind)
		}
	}
}

// checkZooLosses looks for what the sections say that is not migrated.
func (p *pair) checkZooLosses(t *testing.T, m majors) {
	t.Helper()
	for _, s := range zooSections(t, m.source) {
		if s.Lost == "" {
			continue
		}
		if n := query(t, p.source, "SELECT ("+s.Lost+")::text"); n == "0" {
			t.Errorf("%s: the source has none", s.Kind)
		}
		if n := query(t, p.target, "SELECT ("+s.Lost+")::text"); n != "0" {
			t.Errorf("%s: the target has %s", s.Kind, n)
		}
	}
}
