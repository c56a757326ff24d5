package catalog_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// Trap 11: without an ANALYZE there is no estimate; an old one grows with the table.
func TestTheRowsOfATableAreEstimated(t *testing.T) {
	session := connect(t)
	for _, step := range []struct {
		sql  string
		want int64
	}{
		{`CREATE TABLE public.counted (id int); INSERT INTO public.counted SELECT generate_series(1, 10000)`, 0},
		{`ANALYZE public.counted`, 10_000},
		{`INSERT INTO public.counted SELECT generate_series(1, 30000)`, 40_000},
		{`TRUNCATE public.counted`, 0},
	} {
		if _, err := session.Exec(t.Context(), step.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		tables, err := catalog.Tables(t.Context(), session)
		if err != nil || len(tables) != 1 {
			t.Fatal(tables, err)
		}
		if rows := tables[0].Rows; rows < step.want*95/100 || rows > step.want*105/100 {
			t.Errorf("%s: %d rows", step.sql, rows)
		}
	}
}
