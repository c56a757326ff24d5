package fence_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
)

// relations has all kinds of tables that hold rows, some below others, with a row in each.
const relations = `
CREATE SCHEMA "an ""odd"".schema";
CREATE TABLE "an ""odd"".schema"."a ""table"". Yes" (id int);
CREATE TABLE public.plain (id int);
CREATE TABLE public.partitioned (id int) PARTITION BY RANGE (id);
CREATE TABLE public.nested PARTITION OF public.partitioned FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
CREATE TABLE public.leaf PARTITION OF public.nested FOR VALUES FROM (0) TO (10);
CREATE TABLE public.parent (id int);
CREATE TABLE public.child () INHERITS (public.parent);
CREATE UNLOGGED TABLE public.unlogged (id int);
CREATE VIEW public.viewed AS SELECT * FROM public.plain;
INSERT INTO "an ""odd"".schema"."a ""table"". Yes" VALUES (1);
INSERT INTO public.plain VALUES (1);
INSERT INTO public.partitioned VALUES (1);
INSERT INTO public.parent VALUES (1);
INSERT INTO public.child VALUES (1);
INSERT INTO public.unlogged VALUES (1);`

// written are all names by which the rows of relations can be changed.
var written = []string{
	`"an ""odd"".schema"."a ""table"". Yes"`, "public.plain", "public.partitioned", "public.nested", "public.leaf",
	"public.parent", "public.child", "public.unlogged", "public.viewed",
}

// writes gives the statements that change a table.
func writes(table string) []string {
	sql := []string{"INSERT INTO %s VALUES (2)", "UPDATE %s SET id = 3", "DELETE FROM %s", "COPY %s FROM STDIN"}
	if table == "public.viewed" {
		sql = sql[:3]
	} else {
		sql = append(sql, "TRUNCATE %s")
	}
	for i := range sql {
		sql[i] = fmt.Sprintf(sql[i], table)
	}
	return sql
}

// write tries a change, and takes it back. It waits for a lock as long as it is told to.
func write(t *testing.T, conn *pgx.Conn, sql, wait string) error {
	t.Helper()
	execute(t, conn, `BEGIN; SET LOCAL lock_timeout = '`+wait+`'`)
	defer execute(t, conn, `ROLLBACK`)
	if strings.HasPrefix(sql, "COPY") {
		_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader("2\n"), sql)
		return err
	}
	_, err := conn.Exec(t.Context(), sql)
	return err
}

// checkWrites makes sure that every change of any table ends with the code, and that every one can be read.
func checkWrites(t *testing.T, conn *pgx.Conn, wanted string) {
	t.Helper()
	wait := "10s" // the server lets go of a lock a moment after its session is closed
	if wanted == "55P03" {
		wait = "10ms"
	}
	for _, table := range written {
		for _, sql := range writes(table) {
			if err := write(t, conn, sql, wait); code(err) != wanted || (err != nil) != (wanted != "") {
				t.Errorf("%s gives %v", sql, err)
			}
		}
		if rows := query(t, conn, `SELECT count(*)::text FROM `+table); rows == "0" {
			t.Errorf("table %s is empty", table)
		}
	}
}

// Trap 45: whoever sets the default aside is stopped by the locks, which stop no reader, and end with the fence.
func TestLocksStopWritersAndNotReaders(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, relations)
	reader := s.app(t)
	execute(t, reader, `BEGIN; SELECT FROM public.plain`)
	s.raise(t)
	app := s.app(t)
	checkWrites(t, app, "55P03")
	execute(t, reader, `COMMIT`)
	s.Release(t.Context())
	s.Release(t.Context())
	checkWrites(t, app, "")
}

// What fences once fences again, also when another worker has got as far as the function.
func TestAFenceIsRaisedAgain(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, relations)
	app := s.app(t)
	for range 2 {
		if err := s.CreateRefusal(t.Context(), s.conn); err != nil {
			t.Fatal(err)
		}
		s.harden(t)
		checkWrites(t, app, "25006")
		s.lift(t)
		checkWrites(t, app, "")
	}
}

// Of the sessions that have written to a table and are in the way, our own login's are ended and the others are named. Those
// that only read are left alone.
func TestSessionsInTheWay(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, relations)
	sessions := map[string]*pgx.Conn{"writer": s.app(t), "reader": s.app(t), "stranger": s.stranger(t), "elsewhere": s.app(t)}
	execute(t, sessions["writer"], `BEGIN; UPDATE public.plain SET id = 2`)
	execute(t, sessions["reader"], `BEGIN; SELECT FROM public.plain`)
	execute(t, sessions["stranger"], `BEGIN; INSERT INTO public.leaf VALUES (3)`)
	execute(t, sessions["elsewhere"], `CREATE TEMP TABLE mine (id int); BEGIN; INSERT INTO mine VALUES (3)`)
	begun := time.Now()
	err := s.Lock(t.Context(), s.conn, s.names(t), time.Millisecond)
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %s", took)
	}
	var blocked *fence.BlockedError
	if !errors.As(err, &blocked) || code(err) != "55P03" {
		t.Fatalf("the tables are locked: %v", err)
	}
	want := fmt.Sprintf(`tables of the source are in use by process %d (application "stranger", user postgres)`, sessions["stranger"].PgConn().PID())
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	checkEnded(t, sessions, "writer")
	s.Release(t.Context())
	execute(t, sessions["stranger"], `COMMIT`)
	s.raise(t)
}

// So many tables do not go into one statement. Lock tries again as long as it may, and what was locked before stays locked
// meanwhile.
func TestManyTablesAreFenced(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, relations)
	execute(t, s.conn, `DO $$ BEGIN FOR i IN 1..501 LOOP EXECUTE format('CREATE TABLE public.t%s ()', i); END LOOP; END $$;
		CREATE TABLE public.zzz (id int)`) // in the last batch
	stranger := s.stranger(t)
	execute(t, stranger, `BEGIN; INSERT INTO public.zzz VALUES (1)`)
	locked := make(chan error, 1)
	names := s.names(t)
	go func() { locked <- s.Lock(t.Context(), s.conn, names, 10*time.Second) }()
	app := s.app(t)
	waitingSince := func() string {
		return query(t, app, `SELECT query_start::text FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND relation = 'public.zzz'::regclass`)
	}
	var first string
	within(t, "the last table is waited for", func() bool {
		first = waitingSince()
		return first != ""
	})
	within(t, "it is waited for again", func() bool { return !strings.Contains(first, waitingSince()) })
	if err := write(t, app, `INSERT INTO public.plain VALUES (1)`, "10ms"); code(err) != "55P03" {
		t.Errorf("a table that was locked: %v", err)
	}
	execute(t, stranger, `COMMIT`)
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	if err := write(t, app, `INSERT INTO public.zzz VALUES (1)`, "10ms"); code(err) != "55P03" {
		t.Errorf("the last table: %v", err)
	}
	if err := s.CreateRefusal(t.Context(), s.conn); err != nil {
		t.Fatal(err)
	}
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Harden(t.Context()); err != nil {
		t.Fatal(err)
	}
	const count = `SELECT count(*)::text FROM pg_trigger WHERE tgname = '_pgmig_refuse'`
	if there, want := query(t, app, count), strconv.Itoa(len(names.Parents)+len(names.Rows)); there != want {
		t.Errorf("%s tables of %s have triggers", there, want)
	}
	s.lift(t)
	if left := query(t, app, count); left != "0" {
		t.Errorf("%s tables have triggers still", left)
	}
}
