package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

var (
	soakTime  = flag.Duration("soak", 0, "how long writers work in each run of TestSoak; a short one without it")
	soakSeeds = flag.Int("seeds", 1, "how many runs TestSoak makes, with the seeds from -seed on")
	soakSeed  = flag.Uint64("seed", 1, "the seed of the first run of TestSoak")
)

const (
	shortSoak    = 6 * time.Second
	soakWriters  = 8
	soakPatience = 5 * time.Minute // for the stream to arrive, on a machine that does other things
)

// TestSoak migrates a random schema while sessions write at random, workers are replaced and servers crash, and compares both
// sides. All is chosen by the seed; only the moments at which sessions meet are not.
func TestSoak(t *testing.T) {
	t.Parallel()
	for i := range *soakSeeds {
		seed := *soakSeed + uint64(i)
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { soak(t, seed) }) {
			t.Logf("again: make soak SEED=%d SEEDS=1", seed)
		}
	}
}

func soak(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	duration := max(*soakTime, shortSoak)
	source := []int{sourceMajor, targetMajor}[random.IntN(2)]
	var servers []*postgres.Cluster // to crash
	var p *pair
	if *soakTime > 0 && random.IntN(3) == 0 {
		source = sourceMajor
		var a, b *postgres.Cluster
		p, a, b = ownServers(t)
		servers = []*postgres.Cluster{a, b}
	} else {
		p = newPairOf(t, source, targetMajor)
	}
	tables := soakSchema(random)
	t.Logf("seed %d: version %d, %d tables, writers for %v, servers crash: %v", seed, source, len(tables), duration, len(servers) > 0)
	for _, table := range tables {
		execute(t, p.source, table.create)
	}
	for _, table := range tables {
		execute(t, p.source, table.insert(random, 1, table.limit))
	}
	before := p.sourceState(t)
	w := p.startSoak(t, seed, tables)
	r := p.run(t)
	for range random.IntN(4) {
		time.Sleep(time.Duration(random.Int64N(int64(duration / 3))))
		if len(servers) > 0 && random.IntN(2) == 0 {
			server := servers[random.IntN(2)]
			if err := server.Kill9(); err != nil {
				t.Fatal(err)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("the server at port %d crashed", server.Port)
			continue
		}
		r = p.restart(t, r)
	}
	select {
	case <-time.After(time.Until(w.began.Add(duration))):
	case err := <-r.result:
		r.result <- err
		t.Fatalf("seed %d: the replication ended: %v", seed, err)
	}
	w.stop(t)
	t.Logf("%d transactions were committed, %d rolled back, %d refused; largest of %d rows", w.committed.Load(), w.rolledBack.Load(), w.refused.Load(), w.largest.Load())
	r.arrived(t, p)
	progress := r.Progress()
	validated := 0
	for _, table := range progress.Tables {
		if table.Validation == "VALIDATED" {
			validated++
		}
	}
	t.Logf("%d of %d tables were compared online; warnings %q", validated, len(progress.Tables), progress.Warnings)
	for _, warning := range progress.Warnings {
		if strings.Contains(warning, "copied again") {
			t.Errorf("seed %d: %s", seed, warning) // no other hand writes to the target
		}
	}
	r.finalize(t)
	t.Logf("fenced for %.2f s", r.FinalizationProgress().FencedSeconds)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	p.compare(t, majors{source, targetMajor})
}

// arrived waits until all that was written is on the target, by a row that was written last.
func (r *running) arrived(t *testing.T, p *pair) {
	t.Helper()
	execute(t, p.source, `INSERT INTO keyless (dup) VALUES (4711)`)
	deadline := time.Now().Add(soakPatience)
	for {
		select {
		case err := <-r.result:
			r.result <- err
			t.Fatalf("the replication ended: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		if r.Progress().InSync && query(t, p.target, `SELECT count(*)::text FROM keyless WHERE dup = 4711`) == "1" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in sync: %+v", r.Progress())
		}
	}
}

// soakers are sessions that write at random.
type soakers struct {
	*pair
	tables                                  []soakTable
	began                                   time.Time
	cancel                                  context.CancelFunc
	group                                   sync.WaitGroup
	committed, rolledBack, refused, largest atomic.Int64
	failed                                  atomic.Pointer[error]
}

func (p *pair) startSoak(t *testing.T, seed uint64, tables []soakTable) *soakers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &soakers{pair: p, tables: tables, began: time.Now(), cancel: cancel}
	for i := range soakWriters {
		w.group.Go(func() { w.write(ctx, rand.New(rand.NewPCG(seed, uint64(i)+1))) })
	}
	t.Cleanup(func() { w.stop(t) })
	return w
}

func (w *soakers) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	w.group.Wait()
	if err := w.failed.Swap(nil); err != nil {
		t.Errorf("a writer failed: %v", *err)
	}
}

// write makes transactions until ctx ends; one under way is finished.
func (w *soakers) write(ctx context.Context, random *rand.Rand) {
	var conn *pgx.Conn
	unending := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgx.Connect(unending, w.source.URL()); err != nil { // the server is being restarted
				time.Sleep(100 * time.Millisecond)
				continue
			}
		}
		err := w.transaction(unending, conn, random)
		var pg *pgconn.PgError
		switch {
		case err == nil:
		case errors.As(err, &pg) && strings.Contains("23 40 57 55", pg.Code[:2]): // a constraint, another writer, a crash
			w.refused.Add(1)
		case pg == nil && conn.IsClosed(): // a crash
			w.refused.Add(1)
		default:
			w.failed.CompareAndSwap(nil, &err)
			return
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
	}
	if conn != nil {
		_ = conn.Close(unending)
	}
}

// transaction makes one of 1 to 5 statements, or a large one.
func (w *soakers) transaction(ctx context.Context, conn *pgx.Conn, random *rand.Rand) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	do := func(sql string) error {
		tag, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return fmt.Errorf("%.300s: %w", sql, err)
		}
		if rows := tag.RowsAffected(); rows > w.largest.Load() {
			w.largest.Store(rows)
		}
		return nil
	}
	for range 1 + random.IntN(5) {
		table := &w.tables[random.IntN(len(w.tables))]
		switch random.IntN(12) {
		case 0: // what a savepoint takes back
			err = do("SAVEPOINT s; " + table.statement(random) + "; ROLLBACK TO s")
		case 1:
			err = do("SAVEPOINT s; " + table.statement(random) + "; RELEASE s")
		case 2:
			err = w.copyIn(ctx, conn, random)
		default:
			err = do(table.statement(random))
		}
		if err != nil {
			return err
		}
		if random.IntN(6) == 0 { // others overtake
			time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		}
	}
	if random.IntN(400) == 0 {
		if err := do(w.large(random)); err != nil {
			return err
		}
	}
	if random.IntN(8) == 0 {
		w.rolledBack.Add(1)
		return tx.Rollback(ctx)
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	w.committed.Add(1)
	return nil
}

// large gives a statement of many rows, which a statement of another transaction may remove.
func (w *soakers) large(random *rand.Rand) string {
	rows := 20_000
	if *soakTime > 0 {
		rows = 200_000
	}
	if random.IntN(2) == 0 {
		return `DELETE FROM integers WHERE id >= 1000000`
	}
	return fmt.Sprintf(`INSERT INTO integers (id, n) SELECT i, 2000 + i FROM generate_series(1000000, %d) AS i ON CONFLICT DO NOTHING`, 1_000_000+random.IntN(rows))
}

func (w *soakers) copyIn(ctx context.Context, conn *pgx.Conn, random *rand.Rand) error {
	for {
		table := &w.tables[random.IntN(len(w.tables))]
		if table.copy == nil {
			continue
		}
		name := "id"
		if len(table.key) == 0 {
			name = "dup"
		}
		var lines strings.Builder
		first := 10_000 + random.IntN(50_000)
		for i := range 1 + random.IntN(200) {
			fmt.Fprintf(&lines, "%s\t%d\n", table.copy(first+i), random.IntN(1000))
		}
		_, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(lines.String()), fmt.Sprintf("COPY %s (%s, n) FROM STDIN", table.name, name))
		return err
	}
}
