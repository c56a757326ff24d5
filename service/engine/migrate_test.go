package engine_test

import (
	"strings"
	"testing"
)

// Trap 15: replica identities are there before the slot, so that every old row that it sends is whole. Trap 29: triggers have
// acted already. Trap 30: so have cascades. Trap 31: generated and identity columns.
// Trap 50: nothing is left of what the replication needed. Trap 61: what is removed already can be removed again.
func TestMigrateWhileWritersWork(t *testing.T) {
	t.Parallel()
	const rows = 2000
	p := newPair(t)
	execute(t, p.source, shop(rows))
	before := p.sourceState(t)
	w := p.startWriters(t, 3, writeShop(rows))
	r := p.run(t)
	r.waitInSync(t)
	w.stop(t)
	t.Logf("%d transactions written", w.done)
	r.finalize(t)
	// Trap 52: the target plans with statistics of what it holds, those of an unlogged table included.
	const unknown = `SELECT relname::text FROM pg_class WHERE oid = ANY ('{sales.customer, sales.event_1, sales.nearly_keyed, sales.cache}'::regclass[]) AND reltuples <= 0`
	if tables := query(t, p.target, unknown); tables != "" {
		t.Errorf("the target has no statistics of %s", tables)
	}
	conn := connect(t, p.source.URL())
	if _, err := conn.Exec(t.Context(), `SET default_transaction_read_only = off`); err != nil {
		t.Fatal(err)
	}
	for _, late := range []string{
		`INSERT INTO sales.audit (what) VALUES ('late')`,
		`INSERT INTO sales.event VALUES ('2026-01-03', -1)`,
		`TRUNCATE sales.event_1`,
	} {
		if _, err := conn.Exec(t.Context(), late); err == nil || !strings.Contains(err.Error(), "was migrated") {
			t.Errorf("a late write to the source gives %v: %s", err, late)
		}
	}
	_ = conn.Close(t.Context())
	progress := r.FinalizationProgress()
	if len(progress.Verification) < 8 {
		t.Errorf("only %d tables verified", len(progress.Verification))
	}
	t.Logf("fenced for %.2f s: %+v", progress.FencedSeconds, progress.Steps)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	if after := p.sourceState(t); after != before {
		t.Errorf("the source was\n%s\nand is\n%s", before, after)
	}
	// The target's materialized views are filled anew in the finalization.
	execute(t, p.source, `REFRESH MATERIALIZED VIEW sales.per_state_view; REFRESH MATERIALIZED VIEW sales.busy_view`)
	p.checkEqual(t)
}
