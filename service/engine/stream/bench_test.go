package stream_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

const (
	benchMajor        = 15
	benchScale        = 10
	benchTransactions = 100_000
)

// BenchmarkBacklog applies a backlog of pgbench's tpcb-like transactions, and lets a native subscription do the same into a
// second database of the same target. Run it with -benchtime 3x or so: each round makes a new backlog.
func BenchmarkBacklog(b *testing.B) {
	settings := map[string]string{"shared_buffers": "1GB", "max_wal_size": "4GB"}
	source := startCluster(b, settings)
	target := startCluster(b, settings)
	r := &route{sourceURL: source.URL("ours"), targetURL: target.URL("ours")}
	for _, on := range []struct {
		cluster  *postgres.Cluster
		database string
	}{{source, "ours"}, {target, "ours"}, {target, "native"}} {
		if err := on.cluster.Exec(b.Context(), "postgres", "CREATE DATABASE "+on.database); err != nil {
			b.Fatal(err)
		}
		pgbench(b, on.cluster, on.database, "-i", "-q", "-s", strconv.Itoa(benchScale))
	}
	r.source, r.target = connect(b, r.sourceURL), connect(b, r.targetURL)
	r.open(b)
	b.Cleanup(func() { _ = r.target.Close(context.Background()) })
	subscribed := connect(b, target.URL("native"))
	admin := connect(b, source.URL("ours"))
	schema := "_pgmig_" + r.id
	r.exec(b, subscribed, "CREATE SCHEMA "+schema+"; CREATE TABLE "+schema+".beat (id int PRIMARY KEY, nonce bigint, at timestamptz); INSERT INTO "+schema+".beat VALUES (1, 0, now())")
	for conn, sql := range map[*pgx.Conn]string{
		admin:      "SELECT pg_create_logical_replication_slot('native', 'pgoutput')",
		subscribed: "CREATE SUBSCRIPTION native CONNECTION '" + source.URL("ours") + "' PUBLICATION pgmig_" + r.id + ` WITH (enabled = false, create_slot = false, copy_data = false, slot_name = 'native')`,
	} {
		if _, err := conn.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}

	var ours, native time.Duration
	used := map[string]time.Duration{} // CPU
	const (
		walsenders = "SELECT pid FROM pg_stat_replication"
		appliers   = "SELECT pid FROM pg_stat_activity WHERE datname IN ('ours', 'native') AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'logical replication worker')"
	)
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		pgbench(b, source, "ours", "-n", "-c", "4", "-t", strconv.Itoa(benchTransactions/4))
		nonce, err := r.capture.Beat(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		applyOurs := func() {
			b.StartTimer()
			start, self := time.Now(), cpu(b, "self")
			a := r.run(b)
			before := processes(b, subscribed, appliers)
			r.drain(b, a)
			ours += time.Since(start)
			b.StopTimer()
			used["ours"] += cpu(b, "self") - self
			used["ours-sender"] += total(processes(b, admin, walsenders), nil)
			used["ours-target"] += total(processes(b, subscribed, appliers), before)
			if err := a.ended(b); err != nil {
				b.Fatal(err)
			}
		}
		applyNative := func() {
			start, before := time.Now(), processes(b, subscribed, appliers)
			r.exec(b, subscribed, "ALTER SUBSCRIPTION native ENABLE")
			var seen int64
			for seen < nonce {
				if err := subscribed.QueryRow(b.Context(), "SELECT nonce FROM "+schema+".beat").Scan(&seen); err != nil {
					b.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			native += time.Since(start)
			used["native-sender"] += total(processes(b, admin, walsenders), nil)
			used["native-target"] += total(processes(b, subscribed, appliers), before)
			r.exec(b, subscribed, "ALTER SUBSCRIPTION native DISABLE")
		}
		if round%2 == 0 {
			applyOurs()
			applyNative()
		} else {
			applyNative()
			applyOurs()
		}
		b.Logf("round %d: ours %.1f s, native %.1f s, since the start; CPU %v", round, ours.Seconds(), native.Seconds(), used)
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(benchTransactions*b.N)/ours.Seconds(), "ours-tx/s")
	b.ReportMetric(float64(benchTransactions*b.N)/native.Seconds(), "native-tx/s")
	for who, d := range used {
		b.ReportMetric(d.Seconds()/float64(b.N), who+"-cpu-s")
	}
	r.checkEqual(b)
}

// processes gives the CPU time of the server processes that a query names. The servers are on this machine.
func processes(b *testing.B, conn *pgx.Conn, sql string) map[string]time.Duration {
	b.Helper()
	used := map[string]time.Duration{}
	for pid := range strings.FieldsSeq(lines(b, conn, "SELECT pid::text FROM ("+sql+") AS x")) {
		used[pid] = cpu(b, pid)
	}
	return used
}

func total(now, before map[string]time.Duration) (d time.Duration) {
	for pid, used := range now {
		d += used - before[pid]
	}
	return d
}

// cpu reads how much CPU time a process has used: fields 14 and 15 of its stat, in hundredths of a second.
func cpu(b *testing.B, pid string) time.Duration {
	b.Helper()
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0 // it has ended
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func startCluster(t testing.TB, settings map[string]string) *postgres.Cluster {
	t.Helper()
	cluster, err := postgres.Start(t.Context(), postgres.Options{Major: benchMajor, Durable: true, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return cluster
}

func pgbench(b *testing.B, cluster *postgres.Cluster, database string, args ...string) {
	b.Helper()
	command := exec.CommandContext(b.Context(), filepath.Join(cluster.BinDir, "pgbench"), append(args, cluster.URL(database))...)
	command.Env = append(command.Environ(), "PGOPTIONS=-c synchronous_commit=off")
	if output, err := command.CombinedOutput(); err != nil {
		b.Fatalf("pgbench: %v\n%s", err, output)
	}
}
