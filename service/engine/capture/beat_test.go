package capture_test

import (
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
)

func TestBeatsAreCounted(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, ``)
	last := func(want int64) {
		t.Helper()
		if nonce, err := d.LastBeat(t.Context()); err != nil || nonce != want {
			t.Errorf("the last heartbeat is %d, not %d: %v", nonce, want, err)
		}
	}
	last(0) // there is no schema yet
	if _, err := d.Beat(t.Context()); err == nil {
		t.Error("a heartbeat is written to nowhere")
	}
	d.prepare(t)
	last(0)
	for want := int64(1); want <= 3; want++ {
		if nonce, err := d.Beat(t.Context()); err != nil || nonce != want {
			t.Errorf("heartbeat %d has number %d: %v", want, nonce, err)
		}
		last(want)
	}
	d.prepare(t) // which leaves the number alone
	last(3)
	execute(t, d.Conn, `DELETE FROM `+capture.Schema(d.ID)+`.beat`)
	last(0)
}

// Trap 61: of our schema nothing is left, whatever refers to it, and nothing else is touched.
func TestTheSchemaIsDropped(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, `CREATE TABLE public.written (id int)`)
	exists := func(want bool) {
		t.Helper()
		if exists, err := d.Exists(t.Context()); err != nil || exists != want {
			t.Errorf("our schema exists: %v, %v", exists, err)
		}
	}
	other := d.Source
	other.ID = "other"
	for _, s := range []capture.Source{other, d.Source} {
		for range 2 {
			if err := s.PrepareRecords(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	exists(true)
	d.prepare(t)
	schema := capture.Schema(d.ID)
	execute(t, d.Conn, `CREATE FUNCTION `+schema+`.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER refuse BEFORE INSERT ON public.written EXECUTE PROCEDURE `+schema+`.refuse()`)
	for range 2 {
		if err := d.DropSchema(t.Context()); err != nil {
			t.Fatal(err)
		}
		exists(false)
	}
	if left := query(t, d.Conn, `SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^_pgmig'`); left != "_pgmig_other" {
		t.Errorf("left are %s", left)
	}
	execute(t, d.Conn, `INSERT INTO public.written VALUES (1)`)
	if rows := query(t, d.Conn, `SELECT count(*)::text FROM public.written`); rows != "1" {
		t.Error("the trigger still acts")
	}
}
