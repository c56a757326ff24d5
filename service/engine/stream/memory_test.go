package stream_test

import (
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// residentLimit is what a whole migration may take of the service's memory.
const residentLimit = 256 << 20

// Trap 35: what was read and is not applied yet is bounded in bytes, however large a transaction or a row is.
//
// TestMemoryStaysBounded does not run in parallel: it measures the whole process.
func TestMemoryStaysBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves some hundreds of megabytes")
	}
	const schema = `CREATE TABLE a (id int PRIMARY KEY, v text, big text); ALTER TABLE a ALTER big SET STORAGE EXTERNAL; CREATE TABLE log (i int, t text)`
	for name, statements := range map[string][]string{
		"a transaction of 500,000 rows": {
			`INSERT INTO a SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 300000) AS i; INSERT INTO log SELECT i, 'x' FROM generate_series(1, 200000) AS i`,
			`UPDATE a SET v = 'y' WHERE id <= 250000; DELETE FROM a WHERE id > 250000`,
		},
		"rows of 30 MB":  {`INSERT INTO a SELECT i, NULL, repeat(md5(i::text), 1000000) FROM generate_series(1, 3) AS i`, `UPDATE a SET v = id WHERE id = 1`},
		"rows of 64 MB":  {`INSERT INTO a SELECT i, NULL, repeat(md5(i::text), 2000000) FROM generate_series(1, 2) AS i`, `UPDATE a SET big = big || 'z' WHERE id = 1`},
		"rows of 200 kB": {`INSERT INTO a SELECT i, NULL, repeat(md5(i::text), 6250) FROM generate_series(1, 400) AS i`},
		"quotes only":    {`INSERT INTO a SELECT i, repeat('"\', 10000) FROM generate_series(1, 2000) AS i`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoute(t, schema)
			for _, sql := range statements {
				r.exec(t, r.source, sql)
			}
			debug.FreeOSMemory()
			before := resident()
			peak := watchResident()
			start := time.Now()
			a := r.run(t)
			r.drain(t, a)
			took := time.Since(start)
			if err := a.ended(t); err != nil {
				t.Fatal(err)
			}
			most := peak()
			t.Logf("%d MB before, at most %d MB, %.1f s", before>>20, most>>20, took.Seconds())
			if most > residentLimit {
				t.Errorf("%d MB were held, more than %d", most>>20, residentLimit>>20)
			}
			for _, table := range []string{"a", "log"} {
				sql := fmt.Sprintf(`SELECT count(*) || ' ' || coalesce(sum(hashtext(x.v)::bigint + coalesce(length(x.big), 0) + hashtext(x.big)), 0) FROM public.%s AS x`, table)
				if table == "log" {
					sql = `SELECT count(*) || ' ' || coalesce(sum(i), 0) FROM public.log`
				}
				if want, got := lines(t, r.source, sql), lines(t, r.target, sql); want != got {
					t.Errorf("table %s is %s on the source and %s on the target", table, want, got)
				}
			}
		})
	}
}

// resident is what the Go runtime holds of the system's memory. Unlike the process's resident memory it is the same under the race
// detector.
func resident() int {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// watchResident gives a function that ends the watch and gives the most that was resident.
func watchResident() func() int {
	stop, most := make(chan struct{}), make(chan int)
	go func() {
		peak := 0
		for {
			peak = max(peak, resident())
			select {
			case <-time.After(2 * time.Millisecond):
			case <-stop:
				most <- peak
				return
			}
		}
	}()
	return func() int {
		close(stop)
		return <-most
	}
}
