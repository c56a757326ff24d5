package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
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
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			soak(t, seed)
		})
	}
}

// soaking is one migration while writers work.
type soaking struct {
	*pair
	*running
	again int // how often it was begun again, because PostgreSQL could not decode
}

func soak(t *testing.T, seed uint64) {
	began := time.Now()
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
	p.engine.Settings.VerifyWait = time.Minute // large transactions take their time
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
	s := &soaking{pair: p, running: p.run(t)}
	if *soakTime > 0 {
		defer func() {
			verdict := "ok"
			if t.Failed() {
				verdict = "FAILED"
			}
			fmt.Printf("seed %d: %s, %d transactions of %d rows, begun again %d times, %.0f s\n", seed, verdict, w.committed.Load(), w.rows.Load(), s.again, time.Since(began).Seconds())
		}()
	}
	for range random.IntN(4) {
		s.wait(t, time.Duration(random.Int64N(int64(duration/3))))
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
		s.restart(t)
	}
	s.wait(t, time.Until(w.began.Add(duration)))
	if *soakTime > 0 { // a worker that takes over verifies everything again
		w.calm.Store(true)
		s.verified(t)
		s.restart(t)
		s.verified(t)
	}
	w.stop(t)
	t.Logf("%d transactions were committed, %d rolled back, %d refused; largest of %d rows", w.committed.Load(), w.rolledBack.Load(), w.refused.Load(), w.largest.Load())
	s.arrived(t)
	progress := s.Progress()
	verified := 0
	for _, table := range progress.Tables {
		if table.Verification == "VALIDATED" {
			verified++
		}
	}
	t.Logf("%d of %d tables were verified online; warnings %q", verified, len(progress.Tables), progress.Warnings)
	for _, warning := range progress.Warnings {
		if strings.Contains(warning, "copied again") {
			t.Errorf("seed %d: %s", seed, warning) // no other hand writes to the target
		}
	}
	s.finalize(t)
	t.Logf("fenced for %.2f s", s.FinalizationProgress().FencedSeconds)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	p.compare(t, majors{source, targetMajor})
}

// wait lets the migration be for a while.
func (s *soaking) wait(t *testing.T, while time.Duration) {
	t.Helper()
	over := time.After(while)
	for {
		select {
		case <-over:
			return
		case err := <-s.result:
			s.result <- err
			s.ended(t, err)
		}
	}
}

// ended goes on after the end of a worker, which was stopped or met WAL that PostgreSQL cannot decode: then it does what the
// failure says.
func (s *soaking) ended(t *testing.T, err error) {
	t.Helper()
	f := failure.Of(err)
	switch {
	case errors.Is(err, context.Canceled):
	case f != nil && f.Code == failure.Undecodable:
		t.Logf("begun again: %v", err)
		s.again++
		if err := s.engine.Remove(t.Context(), s.migration, true); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("the replication ended: %v", err)
	}
	s.migration.Epoch++
	s.running = s.run(t)
}

// restart lets another worker take over.
func (s *soaking) restart(t *testing.T) {
	t.Helper()
	s.stop()
	s.ended(t, s.running.ended(t))
}

// until waits until something is so.
func (s *soaking) until(t *testing.T, is func(progress.Progress) bool) {
	t.Helper()
	for deadline := time.Now().Add(soakPatience); !is(s.Progress()); s.wait(t, 200*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about: %+v", s.Progress())
		}
	}
}

// verified waits until all tables were verified while writers work.
func (s *soaking) verified(t *testing.T) {
	t.Helper()
	s.until(t, func(p progress.Progress) bool {
		return p.InSync && !slices.ContainsFunc(p.Tables, func(table progress.TableProgress) bool {
			return table.Phase != progress.TableDeferred && table.Verification != progress.Verified
		})
	})
}

// arrived waits until all that was written is on the target, by a row that was written last.
func (s *soaking) arrived(t *testing.T) {
	t.Helper()
	execute(t, s.source, `INSERT INTO keyless (dup) VALUES (4711)`)
	s.until(t, func(p progress.Progress) bool {
		return p.InSync && query(t, s.target, `SELECT count(*)::text FROM keyless WHERE dup = 4711`) == "1"
	})
}

// soakers are sessions that write at random.
type soakers struct {
	*pair
	tables                                  []soakTable
	began                                   time.Time
	cancel                                  context.CancelFunc
	group                                   sync.WaitGroup
	committed, rolledBack, refused, largest atomic.Int64
	rows                                    atomic.Int64 // of all statements, also those that were rolled back
	failed                                  atomic.Pointer[error]
	calm                                    atomic.Bool // write less, so that any machine keeps up
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
		rest := time.Duration(random.IntN(40)) * time.Millisecond
		if w.calm.Load() {
			rest *= 10
		}
		time.Sleep(rest)
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
			return fmt.Errorf("running %.300s: %w", sql, err)
		}
		rows := tag.RowsAffected()
		w.rows.Add(rows)
		if rows > w.largest.Load() {
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
		name, rows := "id", 200
		if len(table.key) == 0 {
			name, rows = "dup", 20
		}
		var lines strings.Builder
		first := 10_000 + random.IntN(50_000)
		for i := range 1 + random.IntN(rows) {
			fmt.Fprintf(&lines, "%s\t%d\n", table.copy(first+i), random.IntN(1000))
		}
		_, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(lines.String()), fmt.Sprintf("COPY %s (%s, n) FROM STDIN", table.name, name))
		return err
	}
}
