package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/databases/sample"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

const tiny = 0.001

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

func TestCompareSeesEveryDifference(t *testing.T) {
	source, target := postgres.ForTest(t, 15), postgres.ForTest(t, 18)
	from, to := source.NewDatabase(t, false), target.NewDatabase(t, false)
	for _, login := range []postgres.Login{from, to} {
		if err := sample.Load(t.Context(), login.URL(), tiny); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want bool, word string) {
		t.Helper()
		var output bytes.Buffer
		equal, err := compare(t.Context(), &output, source.URL(from.Database), target.URL(to.Database))
		if err != nil {
			t.Fatal(err)
		}
		if equal != want || !strings.Contains(output.String(), word) {
			t.Errorf("equal is %t, and no %q in\n%s", equal, word, &output)
		}
	}
	check(true, "equal")
	for _, change := range []struct{ do, word, undo string }{
		{"UPDATE stock SET reserved = reserved + 1 WHERE (product_id, warehouse) = (1, 1)", "DIFFERENT", "UPDATE stock SET reserved = reserved - 1 WHERE (product_id, warehouse) = (1, 1)"},
		{"INSERT INTO page_view SELECT * FROM page_view WHERE ctid = '(0,1)'", "DIFFERENT", "DELETE FROM page_view WHERE ctid = (SELECT max(ctid) FROM page_view)"},
		{"CREATE TABLE one_more ()", "one_more", "DROP TABLE one_more"},
		{"ALTER TABLE country RENAME TO land", "public.country", "ALTER TABLE land RENAME TO country"},
		{"SELECT setval('billing.invoice_number', 100000)", "invoice_number is at", "SELECT setval('billing.invoice_number', 999999)"},
	} {
		if err := target.Exec(t.Context(), to.Database, change.do); err != nil {
			t.Fatal(err)
		}
		check(false, change.word)
		if err := target.Exec(t.Context(), to.Database, change.undo); err != nil {
			t.Fatal(err)
		}
		check(true, "equal")
	}
}

func TestRestoreReadsPlainAndCustomDumps(t *testing.T) {
	pgDump, err := postgres.PgDump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cluster := postgres.ForTest(t, 15)
	original := cluster.NewDatabase(t, false)
	if err := sample.Load(t.Context(), original.URL(), tiny); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"plain", "custom"} {
		file := filepath.Join(t.TempDir(), format)
		dump := exec.CommandContext(t.Context(), pgDump, "--no-owner", "--format="+format, "--file="+file, original.URL())
		if output, err := dump.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		restored := cluster.NewDatabase(t, false)
		if err := restore(t.Context(), file, restored.URL()); err != nil {
			t.Fatal(err)
		}
		var output bytes.Buffer
		equal, err := compare(t.Context(), &output, cluster.URL(original.Database), cluster.URL(restored.Database))
		if err != nil || !equal {
			t.Errorf("%s: %v\n%s", format, err, &output)
		}
	}
}
