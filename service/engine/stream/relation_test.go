package stream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

// Trap 21: a table that has another name is still published, and known by its OID. Trap 27: its description comes again after
// DDL, and must still be that of the table that was copied.
func TestATableThatIsDescribedOtherwiseIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, detail string }{
		"renamed":         {`ALTER TABLE a RENAME TO c; INSERT INTO c VALUES (1, 1)`, "it is called public.c now"},
		"moved":           {`CREATE SCHEMA s; ALTER TABLE a SET SCHEMA s; INSERT INTO s.a VALUES (1, 1)`, "it is called s.a now"},
		"names exchanged": {`ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; INSERT INTO c VALUES (1, 1)`, "it is called public.c now"},
		"column added":    {`ALTER TABLE a ADD w int; INSERT INTO a VALUES (1, 1, 1)`, "it has 3 columns now"},
		"column renamed":  {`ALTER TABLE a RENAME v TO w; INSERT INTO a VALUES (1, 1)`, `column "w" is another one now`},
		"column retyped":  {`ALTER TABLE a ALTER v TYPE bigint; INSERT INTO a VALUES (1, 1)`, `column "v" is another one now`},
		"column replaced": {`ALTER TABLE a DROP v; ALTER TABLE a ADD v text; INSERT INTO a VALUES (1, 1)`, `column "v" is another one now`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, v int)`)
			a := r.run(t)
			r.exec(t, r.source, `INSERT INTO a VALUES (0, 0)`)
			r.drain(t, a)
			r.exec(t, r.source, c.sql)
			select {
			case err := <-a.result:
				var changed *stream.SchemaChangedError
				if !errors.As(err, &changed) || changed.Table != "public.a" || !strings.Contains(changed.Detail, c.detail) {
					t.Errorf("the apply ended with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("the apply goes on")
			}
		})
	}
}

// Trap 37: a prepared transaction comes when it is committed. Trap 38: messages are not wanted, and what another server's
// changes brought to the source is.
func TestTransactionsOfOtherKinds(t *testing.T) {
	t.Parallel()
	r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	a := r.run(t)
	admin := connect(t, postgres.ForTest(t, sourceMajor).URL(r.source.Config().Database))
	origin := "origin_" + r.id
	t.Cleanup(func() {
		for _, sql := range []string{"SELECT pg_replication_origin_session_reset()", "SELECT pg_replication_origin_drop('" + origin + "')"} {
			if _, err := admin.Exec(t.Context(), sql); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		}
	})
	for _, sql := range []string{
		`SELECT pg_replication_origin_create('` + origin + `'), pg_replication_origin_session_setup('` + origin + `')`,
		`INSERT INTO public.a VALUES (1)`,
		`SELECT pg_logical_emit_message(true, 'theirs', 'in a transaction'), pg_logical_emit_message(false, 'theirs', 'in none')`,
		`BEGIN`, `INSERT INTO public.a VALUES (2)`, `SELECT pg_logical_emit_message(true, 'theirs', 'between')`, `INSERT INTO public.a VALUES (3)`, `COMMIT`,
		`BEGIN`, `INSERT INTO public.a VALUES (4)`, `PREPARE TRANSACTION 'kept ` + r.id + `'`, `COMMIT PREPARED 'kept ` + r.id + `'`,
		`BEGIN`, `INSERT INTO public.a VALUES (5)`, `PREPARE TRANSACTION 'lost ` + r.id + `'`, `ROLLBACK PREPARED 'lost ` + r.id + `'`,
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	r.drain(t, a)
	if err := a.ended(t); err != nil {
		t.Fatal(err)
	}
	if rows := lines(t, r.target, `SELECT count(*)::text FROM public.a`); rows != "4" {
		t.Errorf("the target has %s rows of 4", rows)
	}
	r.checkEqual(t)
}
