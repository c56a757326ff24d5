package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// The rows that a window changes are read beforehand, whatever their keys look like, and many pages at once.
func TestRowsAreReadBeforehand(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), postgres.ForTest(t, 15).NewDatabase(t, false).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	const schema = `CREATE TABLE public.a (k text PRIMARY KEY, v int); INSERT INTO public.a SELECT i || E'"\\,{}''\n NULL', i FROM generate_series(1, 5000) AS i`
	if _, err := conn.Exec(t.Context(), schema, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	r := &relation{columns: []catalog.Column{{Name: "k"}, {Name: "v"}}, key: []int{0}, name: `"public"."a"`, literal: []int{0, 1}}
	w := newWindow(0)
	for i := range 1000 {
		key := text(fmt.Sprintf("%d\"\\,{}'\n NULL", i+1))
		w.add(r, &change{message: pglogrepl.MessageTypeUpdate, row: tuple{key, text("0")}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	warm := startWarmer(ctx, conn.PgConn())
	cancel()
	<-warm.ended // the test has the session now, with its settings
	warm.queue = make(chan []rowsToRead, 1)
	warm.warm(w)
	warm.warm(w) // is left out
	tables := <-warm.queue
	if len(tables) != 1 || len(warm.queue) > 0 {
		t.Fatalf("%d tables are to be read", len(tables))
	}
	result := conn.PgConn().ExecParams(t.Context(), tables[0].sql, [][]byte{tables[0].keys}, nil, nil, nil).Read()
	if result.Err != nil || string(result.Rows[0][0]) != "1000" {
		t.Errorf("%s finds %q rows of 1000, %v", tables[0].sql, result.Rows, result.Err)
	}
	plan := conn.PgConn().ExecParams(t.Context(), "EXPLAIN "+tables[0].sql, [][]byte{tables[0].keys}, nil, nil, nil).Read()
	if !slices.ContainsFunc(plan.Rows, func(row [][]byte) bool { return strings.Contains(string(row[0]), "Bitmap Heap Scan") }) {
		t.Errorf("the plan is %s, %v", plan.Rows, plan.Err)
	}
}
