package ledger_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// What becomes of a table: it is copied, found rewritten or different, and copied again.
func TestTheTablesOfALedger(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, ledger.Start{Tables: []catalog.Table{{OID: 1, Schema: "s", Name: "a"}, {OID: 2, Schema: "s", Name: "b"}}})
	one := worker(1)
	a, b := ledger.Table{OID: 1, Schema: "s", Name: "a"}, ledger.Table{OID: 2, Schema: "s", Name: "b"}
	copied := a
	copied.Copied, copied.CopyLSN, copied.Rows, copied.Bytes = true, 0x1_00000010, 1<<40, 1<<50
	copyA := func(tx pgx.Tx) error {
		return one.TableCopied(t.Context(), tx, a.OID, copied.CopyLSN, copied.Rows, copied.Bytes)
	}
	in(t, conn, copyA)
	wantTables(t, conn, copied, b)

	for times := 1; times <= 2; times++ {
		in(t, conn, func(tx pgx.Tx) error {
			got, err := one.CopyAgain(t.Context(), tx, a.OID)
			if got != times {
				t.Errorf("it is copied again for the %d. time, not the %d.", got, times)
			}
			return err
		})
		wantTables(t, conn, a, b)
		in(t, conn, copyA)
	}

	const limit = 3
	for times := 1; times <= limit+1; times++ {
		in(t, conn, func(tx pgx.Tx) error {
			deferred, err := one.Rewritten(t.Context(), tx, a.OID, limit)
			if deferred != (times >= limit) {
				t.Errorf("after it was rewritten %d times it is deferred: %v", times, deferred)
			}
			return err
		})
		a.Deferred = times >= limit
		wantTables(t, conn, a, b)
	}
	in(t, conn, func(tx pgx.Tx) error {
		deferred, err := one.Rewritten(t.Context(), tx, a.OID, 100)
		if !deferred {
			t.Error("it is not deferred any more")
		}
		return err
	})
	for name, do := range map[string]func(pgx.Tx) error{
		"Rewritten": func(tx pgx.Tx) error { _, err := one.Rewritten(t.Context(), tx, 4711, limit); return err },
		"CopyAgain": func(tx pgx.Tx) error { _, err := one.CopyAgain(t.Context(), tx, 4711); return err },
	} {
		if err := pgx.BeginFunc(t.Context(), conn, do); !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("%s of a table that is none gives %v", name, err)
		}
	}
}

// A schema that was carried over later replaces what was known of the first one.
func TestTheSchemaIsCarriedAgain(t *testing.T) {
	t.Parallel()
	_, conn := newLedger(t, start)
	carried := catalog.Fingerprint{"table public.plain": "2"}
	in(t, conn, func(tx pgx.Tx) error { return worker(1).SchemaCarried(t.Context(), tx, "DROP TABLE c", carried) })
	if fingerprint, err := worker(1).Fingerprint(t.Context(), conn); err != nil || !maps.Equal(fingerprint, carried) {
		t.Errorf("the fingerprint is %v, %v", fingerprint, err)
	}
	if p := takeOver(t, conn, 1); p.DropSQL != "DROP TABLE c" {
		t.Errorf("the schema is dropped by %q", p.DropSQL)
	}
}
