package snapshot

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/socket"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	socket.Prepare(&config.Config)
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// BenchmarkCopy copies a table like pgbench_accounts and tells what this process takes of it.
func BenchmarkCopy(b *testing.B) {
	source := postgres.ForTest(b, 15).NewDatabase(b, true)
	target := postgres.ForTest(b, 18).NewDatabase(b, false)
	from, to := connect(b, source.URL()), connect(b, target.URL())
	const table = `CREATE TABLE accounts (aid int, bid int, abalance int, filler char(84))`
	const rows = 2_000_000
	for _, sql := range []string{table, fmt.Sprintf(`INSERT INTO accounts SELECT n, 1, 0, '' FROM generate_series(1, %d) AS n`, rows), `VACUUM ANALYZE accounts`} {
		if _, err := from.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := to.Exec(b.Context(), table); err != nil {
		b.Fatal(err)
	}
	tables, err := catalog.Tables(b.Context(), from)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	before := cpu()
	for b.Loop() {
		var count Counter
		err := pgx.BeginFunc(b.Context(), to, func(tx pgx.Tx) error {
			if err := Empty(b.Context(), tx, tables[0]); err != nil {
				return err
			}
			n, err := Copy(b.Context(), from, tx, Part{Table: tables[0]}, true, &count)
			if err == nil && n != rows {
				err = fmt.Errorf("copied %d rows", n)
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(count.Bytes.Load())
	}
	b.ReportMetric((cpu()-before)/float64(b.N), "cpu-s/op")
}

// cpu gives the seconds that this process has used.
func cpu() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
