package largeobject_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
)

// Trap 61: an object of the target that is not ours is never changed, whoever owns it.
func TestObjectsOfOthersAreNeverChanged(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	admin := p.superuser(t)
	execute(t, p.source, `SELECT lo_from_bytea(i, 'source') FROM generate_series(1, 4) AS i`)
	execute(t, p.target, `SELECT lo_from_bytea(2, 'mine'), lo_from_bytea(12, 'mine')`)
	execute(t, admin, `SELECT lo_from_bytea(3, 'theirs'), lo_from_bytea(13, 'theirs')`)
	before := contents(t, admin)
	err := p.Copy(t.Context())
	var taken *largeobject.TakenError
	if !errors.As(err, &taken) || !slices.Equal(taken.OIDs, []uint32{2, 3}) {
		t.Fatalf("the copy gives %v", err)
	}
	if want := "the target holds large objects of its own with the numbers of the source's: 2, 3"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if after := contents(t, admin); after != before {
		t.Errorf("the target held\n%s\nand holds\n%s", before, after)
	}

	execute(t, admin, `SELECT lo_unlink(2), lo_unlink(3)`)
	p.copy(t)
	if v := p.verify(t); v.Different != 0 || v.Source != v.Target {
		t.Errorf("the verification says %+v", v)
	}
	if err := largeobject.Remove(t.Context(), p.target); err != nil {
		t.Fatal(err)
	}
	if left := query(t, admin, `SELECT oid || ' ' || convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata ORDER BY oid`); left != "12 mine\n13 theirs" {
		t.Errorf("the target holds\n%s", left)
	}
}

// An object that took the number of one of ours, which somebody removed, belongs to another login and stays.
func TestAnObjectThatAnotherOwnerMadeInPlaceOfOurs(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	admin := p.superuser(t)
	execute(t, p.source, `SELECT lo_from_bytea(1, 'source')`)
	p.copy(t)
	execute(t, admin, `SELECT lo_unlink(1); SELECT lo_from_bytea(1, 'theirs'); GRANT SELECT ON LARGE OBJECT 1 TO PUBLIC`)
	if err := p.Copy(t.Context()); err == nil {
		t.Error("it is copied over")
	}
	if err := largeobject.Remove(t.Context(), p.target); err == nil {
		t.Error("it is removed")
	}
	if content := query(t, admin, `SELECT convert_from(lo_get(1), 'UTF8')`); content != "theirs" {
		t.Errorf("the target holds %q", content)
	}
}

// However many there are, some hundreds go at a time; one that somebody else has removed is not missed.
func TestCarriedObjectsAreRemoved(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `SELECT lo_create(i) FROM generate_series(1, 1100) AS i`)
	p.copy(t)
	execute(t, p.target, `SELECT lo_unlink(7), lo_create(5000);
		CREATE TABLE public.gone (txid bigint);
		CREATE RULE gone AS ON DELETE TO _pgmig.large_objects DO ALSO INSERT INTO public.gone VALUES (txid_current())`)
	for range 2 {
		if err := largeobject.Remove(t.Context(), p.target); err != nil {
			t.Fatal(err)
		}
	}
	if left := query(t, p.target, `SELECT oid::text FROM pg_largeobject_metadata UNION ALL SELECT object::text FROM _pgmig.large_objects`); left != "5000" {
		t.Errorf("left are %s", left)
	}
	if most := query(t, p.target, `SELECT max(count)::text FROM (SELECT count(*) FROM public.gone GROUP BY txid) AS transactions`); most != "500" {
		t.Errorf("in one transaction %s were removed", most)
	}
}
