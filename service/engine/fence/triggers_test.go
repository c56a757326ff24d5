package fence_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
)

const (
	triggersSQL = `SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = '_pgmig_refuse' ORDER BY 1`
	refusalSQL  = `SELECT count(*)::text FROM pg_proc WHERE proname = 'refuse'`
)

// Trap 45: a statement that waited for a lock finds the trigger that takes its place, whichever table it names.
func TestAStatementThatWaitedFindsTheTrigger(t *testing.T) {
	t.Parallel()
	for name, major := range map[string]int{"PostgreSQL 15": 15, "PostgreSQL 18": 18} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t, major, relations)
			s.raise(t)
			app := s.app(t)
			refused := make(chan error)
			waiting := []string{
				"INSERT INTO public.plain VALUES (2)", "UPDATE public.partitioned SET id = 3", "DELETE FROM public.leaf", "TRUNCATE public.child",
				"UPDATE public.parent SET id = 3", "INSERT INTO public.viewed VALUES (2)", `DELETE FROM "an ""odd"".schema"."a ""table"". Yes"`, "INSERT INTO public.unlogged VALUES (2)",
			}
			for _, sql := range waiting {
				conn := s.app(t)
				go func() {
					_, err := conn.Exec(t.Context(), sql)
					refused <- err
				}()
			}
			within(t, "all statements wait", func() bool {
				return query(t, app, `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == "8"
			})
			if err := s.Arm(t.Context()); err != nil {
				t.Fatal(err)
			}
			if seen := query(t, app, triggersSQL); seen != "" {
				t.Errorf("before the fence is hardened there are triggers on %s", seen)
			}
			if err := s.Harden(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range waiting {
				err := <-refused
				var pg *pgconn.PgError
				if !errors.As(err, &pg) || pg.Code != "25006" || !strings.Contains(pg.Message, "was migrated") || !strings.Contains(pg.Hint, "Bind the application") {
					t.Errorf("a statement that waited gets %v", err)
				}
			}
			s.Release(t.Context())
			checkWrites(t, app, "25006")
			// Not even as a replica, which fires no ordinary trigger.
			replica := s.stranger(t)
			execute(t, replica, `SET session_replication_role = replica`)
			checkWrites(t, replica, "25006")
		})
	}
}

// Trap 54: without a success the fence leaves nothing.
func TestAReleaseLeavesNoTrigger(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, relations)
	s.raise(t)
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Release(t.Context())
	if seen := query(t, s.conn, triggersSQL); seen != "" {
		t.Errorf("there are triggers on %s", seen)
	}
	app := s.app(t)
	checkWrites(t, app, "")
	s.lift(t)
	if left := query(t, s.conn, refusalSQL); left != "0" {
		t.Error("the function is left")
	}
}

// Settle lets brokers change the catalog, and no table.
func TestTheTriggersStayAfterSettling(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, relations)
	if _, err := s.ReadOnly(t.Context(), s.conn); err != nil {
		t.Fatal(err)
	}
	s.harden(t)
	for range 2 {
		if err := s.Settle(t.Context(), s.conn); err != nil {
			t.Fatal(err)
		}
	}
	app := s.app(t)
	execute(t, app, `CREATE TABLE public.later (id int); INSERT INTO public.later VALUES (1)`)
	checkWrites(t, app, "25006")
	s.lift(t)
	checkWrites(t, app, "")
}

// Trap 61: only what is ours is lifted.
func TestLiftLeavesTheTriggersOfOthers(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, `CREATE TABLE public.theirs (id int);
		CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER _pgmig_refuse BEFORE INSERT ON public.theirs EXECUTE PROCEDURE public.refuse();
		CREATE TABLE public.ours (id int)`)
	if err := s.CreateRefusal(t.Context(), s.conn); err != nil {
		t.Fatal(err)
	}
	if err := s.Lock(t.Context(), s.conn, fence.Tables{Rows: []string{"public.ours"}}, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Arm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Harden(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.lift(t)
	if left := query(t, s.conn, triggersSQL); left != "public.theirs" {
		t.Errorf("there are triggers on %q", left)
	}
}

// Without our schema nothing is known to be ours, and nothing is lifted.
func TestWithoutOurSchemaNothingIsLifted(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, ``)
	execute(t, s.conn, `DROP SCHEMA _pgmig_test CASCADE; ALTER DATABASE `+pgx.Identifier{s.Database}.Sanitize()+` SET default_transaction_read_only = on`)
	before := s.settings(t)
	if err := s.Settle(t.Context(), s.conn); err != nil {
		t.Error(err)
	}
	s.lift(t)
	if after := s.settings(t); after != before || before == "" {
		t.Errorf("the database was set to %q and is set to %q", before, after)
	}
}

// A lift that fails leaves the session as it was, and is done again.
func TestALiftThatFails(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, relations)
	s.harden(t)
	admin := s.stranger(t)
	execute(t, admin, `ALTER TABLE public.plain OWNER TO postgres`)
	if err := s.Lift(t.Context(), s.conn); code(err) != "42501" {
		t.Fatalf("a table of another owner: %v", err)
	}
	if status := s.conn.PgConn().TxStatus(); status != 'I' {
		t.Errorf("the session is left in state %c", status)
	}
	execute(t, admin, `ALTER TABLE public.plain OWNER TO `+pgx.Identifier{s.User}.Sanitize())
	s.lift(t)
	checkWrites(t, s.app(t), "")
}
