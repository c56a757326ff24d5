package fence_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
)

// Trap 78: to take a trigger away waits for all who read the table, and everybody else who wants to read it waits behind that.
func TestLiftingHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, `CREATE TABLE public.read (id int PRIMARY KEY); CREATE TABLE public.other (id int PRIMARY KEY)`)
	s.harden(t)
	reader, err := s.app(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), `SELECT * FROM public.read`); err != nil {
		t.Fatal(err)
	}
	lifted := make(chan error, 1)
	go func() { lifted <- s.Lift(t.Context(), s.conn) }()
	app := s.app(t)
	execute(t, app, `SET default_transaction_read_only = off`)
	within(t, "the source is writable", func() bool {
		_, err := app.Exec(t.Context(), `INSERT INTO public.read VALUES (1)`)
		return err == nil
	})
	for range 10 {
		began := time.Now()
		execute(t, app, `SELECT * FROM public.read; UPDATE public.read SET id = id; DELETE FROM public.other; INSERT INTO public.other VALUES (1)`)
		if took := time.Since(began); took > time.Second {
			t.Errorf("a reader waited for %s", took)
		}
		time.Sleep(50 * time.Millisecond)
	}
	select {
	case err := <-lifted:
		t.Errorf("the fence was lifted although a table is read: %v", err)
	default:
	}
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-lifted; err != nil {
		t.Error(err)
	}
	if triggers := query(t, s.conn, `SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE '\_pgmig%'`); triggers != "0" {
		t.Errorf("%s triggers are left", triggers)
	}
}

// Triggers that could not be taken away in time let writers through, and serve the next fence.
func TestATriggerThatIsLeftServesTheNextFence(t *testing.T) {
	t.Parallel()
	s := newSource(t, 18, `CREATE TABLE public.a (id int PRIMARY KEY); CREATE TABLE public.parted (id int) PARTITION BY LIST (id); CREATE TABLE public.leaf PARTITION OF public.parted DEFAULT`)
	s.harden(t)
	if err := s.CreateRefusal(t.Context(), s.conn); err != nil { // which lets writers through
		t.Fatal(err)
	}
	app := s.app(t)
	execute(t, app, `INSERT INTO public.a VALUES (1); INSERT INTO public.parted VALUES (1); UPDATE public.leaf SET id = 2; DELETE FROM public.parted; TRUNCATE public.leaf`)
	s.harden(t)
	tables := []string{"public.a", "public.parted", "public.leaf"}
	for _, table := range tables {
		wantCode(t, app, `INSERT INTO `+table+` VALUES (3)`, "25006")
	}
	s.lift(t)
	for _, table := range tables {
		wantCode(t, app, `INSERT INTO `+table+` VALUES (3) ON CONFLICT DO NOTHING`, "")
	}
}

// Trap 67: who was replaced changes nothing on the source: it raises no fence, hardens none and lifts none.
func TestAWorkerThatWasReplacedHasNoFence(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, `CREATE TABLE public.a (id int PRIMARY KEY)`)
	s.harden(t)
	later := capture.Source{ID: "test", Epoch: 1, Conn: connect(t, s.URL(), "pgmig later")}
	if err := later.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(*pgx.Conn) error{
		"ReadOnly":      func(conn *pgx.Conn) error { _, err := s.ReadOnly(t.Context(), conn); return err },
		"CreateRefusal": func(conn *pgx.Conn) error { return s.CreateRefusal(t.Context(), conn) },
		"Lock":          func(conn *pgx.Conn) error { return s.Lock(t.Context(), conn, s.names(t), time.Second) },
		"Lift":          func(conn *pgx.Conn) error { return s.Lift(t.Context(), conn) },
		"Settle":        func(conn *pgx.Conn) error { return s.Settle(t.Context(), conn) },
	} {
		if err := do(s.conn); !errors.Is(err, capture.ErrTakenOver) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	wantCode(t, s.app(t), `INSERT INTO public.a VALUES (1)`, "25006")
	// And whoever takes over waits for a transaction of it that is still open, but not for long.
	s.Source.Epoch = 1
	s.raise(t)
	newest := capture.Source{ID: "test", Epoch: 2, Conn: later.Conn}
	began := time.Now()
	if err := newest.TakeOver(t.Context()); code(err) != "55P03" || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	s.Release(t.Context())
	within(t, "the newest takes over", func() bool { return newest.TakeOver(t.Context()) == nil })
}

// wantCode executes a statement, which fails with an SQLSTATE; empty: it succeeds.
func wantCode(t *testing.T, conn *pgx.Conn, sql, wanted string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); code(err) != wanted || (err != nil) != (wanted != "") {
		t.Errorf("%s gives %v", sql, err)
	}
}
