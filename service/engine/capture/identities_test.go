package capture_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// identityTables has a table for every replica identity that a table may have, with and without a key.
const identityTables = `
CREATE SCHEMA "an ""odd"".schema";
SET search_path = "an ""odd"".schema";
CREATE TABLE keyed (id int PRIMARY KEY);
CREATE TABLE keyless (id int);
CREATE TABLE "a ""keyless"" table. Yes" (id int);
CREATE TABLE "a keyed.table" (id int CONSTRAINT "the ""key"".of it" PRIMARY KEY);
ALTER TABLE "a keyed.table" REPLICA IDENTITY NOTHING;
CREATE TABLE full_identity (id int PRIMARY KEY);
ALTER TABLE full_identity REPLICA IDENTITY FULL;
CREATE TABLE index_identity (id int PRIMARY KEY, code text NOT NULL);
CREATE UNIQUE INDEX by_code ON index_identity (code);
ALTER TABLE index_identity REPLICA IDENTITY USING INDEX by_code;
CREATE TABLE nothing_identity (id int);
ALTER TABLE nothing_identity REPLICA IDENTITY NOTHING;
CREATE TABLE unique_only (id int NOT NULL UNIQUE);
CREATE TABLE deferrable_key (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE partitioned (id int) PARTITION BY RANGE (id);
CREATE TABLE partition PARTITION OF partitioned FOR VALUES FROM (0) TO (100);
CREATE UNLOGGED TABLE unlogged (id int);
RESET search_path;`

// An index of which a column is no part of the key cannot be a row's key for us, but is a replica identity for PostgreSQL.
const includingIndex = `
CREATE TABLE public.including (id int NOT NULL, v text);
CREATE UNIQUE INDEX "by ""id"", with v" ON public.including (id) INCLUDE (v);
ALTER TABLE public.including REPLICA IDENTITY USING INDEX "by ""id"", with v";`

const identitiesSQL = `
SELECT c.relname || ' ' || c.relreplident::text || coalesce(' ' || x.relname, '')
FROM pg_class AS c
LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisreplident
LEFT JOIN pg_class AS x ON x.oid = i.indexrelid
WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text !~ '^(pg_|_pgmig|information_schema)'
ORDER BY c.relname::text COLLATE "C"`

func identities(t *testing.T, d database) string {
	t.Helper()
	return query(t, d.Conn, identitiesSQL)
}

// Trap 13: whatever identity a table has, and whatever it is called, its rows can be changed while it is published. Trap 61:
// afterwards it has the identity of before.
func TestEveryTableGetsAnIdentityAndGivesItBack(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 18, identityTables+includingIndex)
	const want = `a "keyless" table. Yes f
a keyed.table i the "key".of it
child f
deferrable_key f
full_identity f
including f
index_identity i by_code
keyed d
keyless f
nothing_identity f
parent f
partition f
unique_only i unique_only_id_key
unlogged d`
	const changed = 10
	before := identities(t, d)
	// Once broken off early, then with what was read before anything was changed, and with what is there then.
	first := tables(t, d.Conn)
	for _, tables := range [][]catalog.Table{first[:3], first, tables(t, d.Conn)} {
		if err := d.Prepare(t.Context(), tables); err != nil {
			t.Fatal(err)
		}
	}
	d.prepare(t)
	if prepared := identities(t, d); prepared != want {
		t.Errorf("the prepared tables are\n%s", prepared)
	}
	recorded, err := d.Identities(t.Context())
	if err != nil || len(recorded) != changed {
		t.Errorf("%d identities are recorded of %d: %v, %v", len(recorded), changed, recorded, err)
	}
	execute(t, d.Conn, `DO $$
				DECLARE t regclass;
				BEGIN
					FOR t IN SELECT prrelid FROM pg_publication_rel LOOP
						EXECUTE 'UPDATE ' || t || ' SET id = id';
					END LOOP;
				END $$`)

	for range 2 {
		if err := d.Unpublish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := identities(t, d); after != before {
			t.Errorf("the tables were\n%s\nand are\n%s", before, after)
		}
	}
	if left := query(t, d.Conn, `SELECT pubname::text FROM pg_publication`); left != "" {
		t.Errorf("publication %s is left", left)
	}
}

// What somebody has removed meanwhile is not missed, nor are records that were never made.
func TestUnpublishingWhatIsGone(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, `CREATE TABLE public.dropped (); CREATE TABLE public.kept ()`)
	if err := d.Unpublish(t.Context()); err != nil {
		t.Error(err)
	}
	d.prepare(t)
	execute(t, d.Conn, `DROP TABLE public.dropped; DROP PUBLICATION `+capture.Slot(d.ID))
	if err := d.Unpublish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := identities(t, d); after != "kept d" {
		t.Errorf("the tables are %s", after)
	}
}

// held is something that wants a lock which a reader has.
type held struct {
	database
	reader pgx.Tx
	table  string
	begun  time.Time
	done   chan error
}

func hold(t *testing.T, d database, table string, do func() error) held {
	t.Helper()
	reader, err := connect(t, d.URL()).Begin(t.Context())
	if err == nil {
		_, err = reader.Exec(t.Context(), `SELECT FROM `+table)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := held{database: d, reader: reader, table: table, begun: time.Now(), done: make(chan error, 1)}
	go func() { h.done <- do() }()
	return h
}

// waits says whether somebody waits for the lock.
func (h held) waits(t *testing.T) bool {
	t.Helper()
	return query(t, h.reader.Conn(), `SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass`, h.table) != "0"
}

// Trap 13: the identity comes before the publication and goes after it. Trap 14: a lock that a reader keeps us from is given up after a while, so that whoever waits behind us gets through, and is
// tried again. Between two tries nothing keeps us from being stopped.
func TestALockIsWaitedForInShortTries(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	const table = `CREATE TABLE public.held (id int)`
	unprepared, prepared, left, stopped := newDatabase(t, 15, table), newDatabase(t, 15, table), newDatabase(t, 15, table), newDatabase(t, 15, table)
	prepared.prepare(t)
	left.prepare(t)
	found := tables(t, unprepared.Conn)
	foundStopped := tables(t, stopped.Conn)
	all := map[string]held{ // all at once, because it takes its time
		"Prepare":    hold(t, unprepared, "public.held", func() error { return unprepared.Prepare(t.Context(), found) }),
		"Unpublish":  hold(t, prepared, "public.held", func() error { return prepared.Unpublish(t.Context()) }),
		"DropSchema": hold(t, left, capture.Schema(left.ID)+".identities", func() error { return left.DropSchema(t.Context()) }),
		"cancelled":  hold(t, stopped, "public.held", func() error { return stopped.Prepare(ctx, foundStopped) }),
	}
	for name, h := range all {
		within(t, name+" waits for the lock", func() bool { return h.waits(t) })
	}
	for name, h := range all {
		within(t, name+" gives the lock up", func() bool { return !h.waits(t) })
		if took := time.Since(h.begun); took > 4*time.Second {
			t.Errorf("%s: others had to wait for %s", name, took)
		}
		// A published table has its identity before and still has it after: an UPDATE of the application would fail.
		if name != "DropSchema" && query(t, h.reader.Conn(), `SELECT count(*)::text FROM pg_publication_rel`) != "0" {
			t.Errorf("%s: a table without an identity is published", name)
		}
	}
	cancel()
	for name, h := range all {
		if name == "cancelled" {
			if err := <-h.done; !errors.Is(err, context.Canceled) || h.Conn.IsClosed() {
				t.Errorf("between two tries: %v; the session is closed: %v", err, h.Conn.IsClosed())
			}
			continue
		}
		select {
		case err := <-h.done:
			t.Errorf("%s is not tried again: %v", name, err)
		default:
			if err := h.reader.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-h.done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
