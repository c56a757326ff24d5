package engine_test

import (
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/databases/sample"
)

func TestMigrateTheSampleDatabase(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if err := sample.Load(t.Context(), p.source.URL(), 0.02); err != nil {
		t.Fatal(err)
	}
	writers := &sample.Writers{Pause: 5 * time.Millisecond}
	if err := writers.Start(t.Context(), p.source.URL(), 4); err != nil {
		t.Fatal(err)
	}
	r := p.run(t)
	r.waitInSync(t)
	written, err := writers.Stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions written", written.Transactions)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	execute(t, p.source, `DO $$ DECLARE v regclass; BEGIN FOR v IN SELECT oid FROM pg_class WHERE relkind = 'm' LOOP EXECUTE 'REFRESH MATERIALIZED VIEW ' || v; END LOOP; END $$`)
	p.checkEqual(t)
}
