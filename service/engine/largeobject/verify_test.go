package largeobject_test

import (
	"slices"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
)

func TestDifferencesAreFound(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `SELECT lo_from_bytea(1, 'one'), lo_from_bytea(2, 'two'), lo_create(3), lo_from_bytea(4, ''), lo_put(4, 1200000, 'x'), lo_from_bytea(4000000000, 'last')`)
	p.copy(t)
	p.checkEqual(t, 5)
	for name, c := range map[string]struct {
		target, undo string
		different    []uint32
		objects      int64
	}{
		"content":     {`SELECT lo_put(1, 0, 'eno')`, `SELECT lo_put(1, 0, 'one')`, []uint32{1}, 5},
		"a late byte": {`SELECT lo_put(4, 1100000, '\x01')`, `SELECT lo_put(4, 1100000, '\x00')`, []uint32{4}, 5},
		"longer":      {`SELECT lo_put(3, 0, '\x00')`, `SELECT lo_truncate(lo_open(3, 131072), 0)`, []uint32{3}, 5},
		"exchanged":   {`SELECT lo_put(1, 0, 'two'), lo_put(2, 0, 'one')`, `SELECT lo_put(1, 0, 'one'), lo_put(2, 0, 'two')`, []uint32{1, 2}, 5},
		"missing":     {`SELECT lo_unlink(2)`, `SELECT lo_from_bytea(2, 'two')`, []uint32{2}, 4},
		"the last":    {`SELECT lo_unlink(4000000000)`, `SELECT lo_from_bytea(4000000000, 'last')`, []uint32{4000000000}, 4},
		"extra": {
			`SELECT lo_create(7); INSERT INTO _pgmig.large_objects VALUES (7)`,
			`SELECT lo_unlink(7); DELETE FROM _pgmig.large_objects WHERE object = 7`,
			[]uint32{7},
			6,
		},
		"the target's own": {`SELECT lo_create(8)`, `SELECT lo_unlink(8)`, nil, 5},
	} {
		execute(t, p.target, c.target)
		got := p.verify(t)
		if !slices.Equal(got.Names, c.different) || got.Different != int64(len(c.different)) || (got.Source.Hash == got.Target.Hash) != (len(c.different) == 0) {
			t.Errorf("%s: the verification says %+v", name, got)
		}
		if got.Source.Objects != 5 || got.Target.Objects != c.objects {
			t.Errorf("%s: %d objects on the source and %d on the target", name, got.Source.Objects, got.Target.Objects)
		}
		execute(t, p.target, c.undo)
	}
	p.checkEqual(t, 5)
}

// All differences are counted, and some of them named, in whichever range they are.
func TestManyDifferencesAreCounted(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `SELECT lo_create(i) FROM generate_series(1, 1100) AS i`)
	if v := p.verify(t); v.Different != 1100 || len(v.Names) != 10 || v.Source.Objects != 1100 || v.Target != (largeobject.Content{Hash: "0"}) {
		t.Errorf("the verification says %+v", v)
	}
}
