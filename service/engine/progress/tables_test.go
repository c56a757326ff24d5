package progress

import (
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

// The total of a table in the making comes nearer to what the wire carries with each row.
func TestTheBytesOfATableAreEstimated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		estimated           int64 // rows
		rows, bytes         int64
		wantRows, wantBytes int64
	}{
		{1000, 0, 0, 1000, 80_000},
		{1000, 500, 10_000, 1000, 50_000},
		{1000, 1000, 20_000, 1000, 20_000},
		{1000, 3000, 100_000, 3000, 100_000},
		{0, 10, 100, 10, 80_000}, // never analyzed
	} {
		table := Table{
			Catalog: catalog.Table{Rows: test.estimated, Bytes: 80_000}, Phase: TableCopying,
			Copied: &snapshot.Counter{}, Changes: &stream.Counts{},
		}
		table.count(test.rows, test.bytes)
		p := table.report(ledger.Logical)
		if p.RowsTotal != test.wantRows || p.BytesTotal != test.wantBytes {
			t.Errorf("%+v: %d rows of %d bytes", test, p.RowsTotal, p.BytesTotal)
		}
	}
}
