package largeobject_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// ofAllKinds makes objects that are empty, of one chunk of 1 MB exactly, larger, sparse, or nothing but zeros, and some more
// than go into one range.
const ofAllKinds = `
SELECT lo_create(100);
SELECT lo_from_bytea(101, decode(repeat('00010203fffe5c27', 270000), 'hex'));
SELECT lo_from_bytea(102, ''), lo_put(102, 3000000, 'the end of a sparse object');
SELECT lo_from_bytea(103, ''), lo_put(103, 1499999, '\x00');
SELECT lo_from_bytea(104, decode(repeat('7a', 1048576), 'hex'));
SELECT lo_from_bytea(105, decode(repeat('00', 1048576), 'hex')), lo_put(105, 1048576, '\x01');
SELECT lo_from_bytea(4000000000, '\x00ff5c27');
SELECT lo_from_bytea(1000 + i, convert_to(repeat(md5(i::text), i % 5), 'UTF8')) FROM generate_series(1, 600) AS i`

func TestObjectsOfAllKindsAreCopied(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, ofAllKinds)
	p.copy(t)
	p.checkEqual(t, 607)
	made := p.made(t)
	p.copy(t)
	if again := p.made(t); again != made {
		t.Error("what was equal is copied again")
	}
	admin := p.superuser(t)
	for object, most := range map[string]string{"102": "1000", "103": "10"} { // pages of 2 kB
		if sparse := query(t, admin, `SELECT (count(*) < `+most+`)::text FROM pg_largeobject WHERE loid = `+object); sparse != "true" {
			t.Errorf("object %s takes more than %s pages", object, most)
		}
	}
}

// What has changed is copied, be it longer, shorter or of the same size, and what is gone is removed. An object that was made
// anew under its old number is none of old.
func TestOnlyWhatHasChangedIsCopied(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `SELECT lo_from_bytea(i, convert_to(repeat('content ', 20), 'UTF8')) FROM generate_series(1, 8) AS i; SELECT lo_from_bytea(9, decode(repeat('7a', 1200000), 'hex'))`)
	p.copy(t)
	before := strings.Split(p.made(t), "\n")
	execute(t, p.source, `SELECT lo_put(1, 10, 'same size'), lo_put(2, 1000, 'longer'), lo_truncate(lo_open(3, 131072), 7), lo_unlink(4), lo_truncate(lo_open(5, 131072), 0);
		SELECT lo_unlink(6); SELECT lo_from_bytea(6, 'another'); SELECT lo_from_bytea(0, 'new'); SELECT lo_put(9, 1100000, 'changed')`)
	p.copy(t)
	p.checkEqual(t, 9)
	after := p.made(t)
	for i, object := range before {
		if kept := strings.Contains(after, object); kept != (i == 6 || i == 7) {
			t.Errorf("object %d is the one of before: %v", i+1, kept)
		}
	}
	execute(t, p.source, `SELECT lo_unlink(oid) FROM pg_largeobject_metadata`)
	p.copy(t)
	p.checkEqual(t, 0)
	if left := query(t, p.target, `SELECT object::text FROM _pgmig.large_objects`); left != "" {
		t.Errorf("the ledger still has %s", left)
	}
}

var errStopped = errors.New("stopped")

// What was copied before a copy is broken off is kept, and what was under way leaves nothing.
func TestABrokenOffCopyGoesOn(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.Workers = 1 // so that one range comes after the other
	execute(t, p.source, `SELECT lo_from_bytea(i, 'content') FROM generate_series(1, 600) AS i`)
	check, calls := p.CheckEpoch, 0
	p.CheckEpoch = func(ctx context.Context, tx pgx.Tx) error {
		if calls++; calls == 2 {
			return errStopped
		}
		return check(ctx, tx)
	}
	if err := p.Copy(t.Context()); !errors.Is(err, errStopped) {
		t.Fatalf("the copy that is broken off gives %v", err)
	}
	if v := p.verify(t); v.Different != 100 || v.Target.Objects != 500 {
		t.Errorf("the verification says %+v", v)
	}
	first := p.made(t)
	p.copy(t)
	p.checkEqual(t, 600)
	if made := p.made(t); !strings.HasPrefix(made, first) {
		t.Error("what was there is copied again")
	}
}

// An object is copied as it was at one moment, even if it is written or removed before its turn comes.
func TestTheSourceIsWrittenToMeanwhile(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	// The second one is so large that it has a transaction of its own, and the third one, too.
	execute(t, p.source, `SELECT lo_from_bytea(1, 'small'), lo_from_bytea(2, ''), lo_put(2, 4194304, 'large'), lo_from_bytea(3, 'small')`)
	before := contents(t, p.source)
	check, calls := p.CheckEpoch, 0
	p.CheckEpoch = func(ctx context.Context, tx pgx.Tx) error {
		if calls++; calls == 1 {
			execute(t, p.source, `SELECT lo_unlink(2), lo_put(3, 5, 'later'), lo_create(4)`)
		}
		return check(ctx, tx)
	}
	p.copy(t)
	if calls != 3 {
		t.Errorf("there were %d transactions", calls)
	}
	if copied := contents(t, p.target); copied != before {
		t.Errorf("the source held\n%s\nand the target holds\n%s", before, copied)
	}
	p.copy(t)
	p.checkEqual(t, 3)
}

// Trap 26: a worker that was overtaken neither copies nor removes.
func TestAWorkerThatWasOvertakenCopiesNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `SELECT lo_from_bytea(1, 'one'), lo_from_bytea(2, 'two')`)
	p.copy(t)
	before := contents(t, p.target)
	execute(t, p.target, `UPDATE _pgmig.progress SET epoch = 2`)
	for _, change := range []string{`SELECT lo_put(1, 0, 'changed')`, `SELECT lo_create(3)`, `SELECT lo_unlink(2)`} {
		execute(t, p.source, change)
		if err := p.Copy(t.Context()); !errors.Is(err, ledger.ErrTakenOver) {
			t.Errorf("after %s: %v", change, err)
		}
		if after := contents(t, p.target); after != before {
			t.Errorf("after %s the target holds\n%s", change, after)
		}
	}
}
