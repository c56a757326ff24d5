package engine_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
)

var manyTables = flag.Int("tables", 300, "how many tables TestManyTables migrates")

// What a migration of 10,000 tables may take.
const (
	mostMemory    = 256 << 20
	preflightTime = 20 * time.Second
)

// manyTablesSQL makes tables with a key, an index and a sequence each; some are partitioned, some refer to the one before.
const manyTablesSQL = `
DO $$
BEGIN
    FOR i IN 1..%d LOOP
        IF i %% 20 = 0 THEN
            EXECUTE format('CREATE TABLE t%%s (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)', i);
            EXECUTE format('CREATE TABLE t%%1$s_p PARTITION OF t%%1$s DEFAULT', i);
        ELSE
            EXECUTE format('CREATE TABLE t%%s (id %%s PRIMARY KEY, v text, other int)', i, CASE i %% 10 WHEN 7 THEN 'int' ELSE 'serial' END);
            IF i %% 10 = 3 THEN
                EXECUTE format('ALTER TABLE t%%s ADD FOREIGN KEY (other) REFERENCES t%%s', i, i - 1);
            END IF;
        END IF;
        IF i %% 20 = 0 OR i %% 10 = 7 THEN
            EXECUTE format('INSERT INTO t%%s (id, v) SELECT i, md5(i::text) FROM generate_series(1, 5) AS i', i);
        ELSE
            EXECUTE format('INSERT INTO t%%s (v) SELECT md5(i::text) FROM generate_series(1, 5) AS i', i);
        END IF;
        IF i %% 100 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$`

// TestManyTables migrates a database of many tables on servers with the lock tables that the preflight check asks for, and
// bounds what it takes.
func TestManyTables(t *testing.T) {
	t.Parallel()
	// The lock table of a server is made when it starts. With the fixtures' 279 sessions it has room for 2 locks a table.
	locks := strconv.Itoa(max(10, *manyTables/140))
	p, _, _ := startServers(t, postgres.Options{Settings: map[string]string{"max_locks_per_transaction": locks}})
	execute(t, p.source, fmt.Sprintf(manyTablesSQL, *manyTables))
	mark := time.Now()
	phase := func(name string) {
		t.Logf("%-12s %6.1f s", name, time.Since(mark).Seconds())
		mark = time.Now()
	}
	report, err := p.engine.Preflight(t.Context(), databaseOf(p.source), databaseOf(p.target))
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(mark); took > preflightTime {
		t.Errorf("the preflight check took %v", took)
	}
	phase("preflight")
	for _, f := range report.Findings {
		if f.Severity == preflight.Critical || slices.Contains([]string{"S18", "T25"}, f.ID) { // the lock tables
			t.Errorf("the preflight check finds %+v", f)
		}
	}
	r := p.run(t)
	deadline := time.Now().Add(20 * time.Minute)
	at := r.Progress().Phase
	for at != "in-sync" {
		if now := r.Progress().Phase; now != at {
			phase(string(at))
			at = now
		}
		select {
		case err := <-r.result:
			r.result <- err
			t.Fatalf("the replication ended in phase %s: %v", at, err)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the replication is still in phase %s", at)
		}
	}
	text, err := json.Marshal(r.Progress())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the progress has %d kB", len(text)>>10)
	execute(t, p.source, `INSERT INTO t1 (id, v) VALUES (100, 'late'); UPDATE t2 SET v = 'late'`)
	if *manyTables > 1000 {
		time.Sleep(5 * time.Second) // for the online verification to begin
	}
	mark = time.Now()
	r.finalize(t)
	phase("finalization")
	for _, step := range r.FinalizationProgress().Steps {
		t.Logf("  %-28s %6.1f s", step.Name, *step.Seconds)
	}
	t.Logf("fenced for %.1f s", r.FinalizationProgress().FencedSeconds)
	mark = time.Now()
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	phase("removal")
	memory := peakMemory(t)
	t.Logf("peak memory of the process %d MB", memory>>20)
	if *manyTables > 1000 && memory > mostMemory { // else other tests run at the same time
		t.Errorf("the process took %d MB", memory>>20)
	}
	a, b := connect(t, p.source.URL()), connect(t, p.target.URL())
	compareLists(t, "objects", objectsSQL, a, b)
	compareLists(t, "sequences", sequencesSQL, a, b)
	compareRows(t, a, b)
}

var peakLine = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory gives the most memory that this process has had.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	match := peakLine.FindSubmatch(status)
	if match == nil {
		t.Fatal("/proc/self/status does not tell the peak memory")
	}
	kilobytes, err := strconv.ParseInt(string(match[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
