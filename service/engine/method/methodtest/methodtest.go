// Package methodtest holds every method to the same tests, between real servers. What a method promises is in the doc comments
// of package method; each promise is a test here.
package methodtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// Make gives the method to an attempt with these sessions.
type Make func(*job.Job, job.Sides) method.Method

// Test runs all tests over the method of that name. The test binary's TestMain must be postgres.Main.
func Test(t *testing.T, name ledger.Method, open Make) {
	for title, test := range map[string]func(*house){
		"all that was there and all that is written arrives once": arrives,
		"another worker goes on where the last one stopped":       goesOn,
		"the anchor shows what was committed before it":           anchors,
		"the source is given back":                                givesBack,
		"what another method has left is taken away":              takesAway,
		"the end of the following is told":                        ends,
		"a worker that was replaced carries nothing":              replaced,
		"both sides show the same moment":                         moments,
		"what takes long is done":                                 whiles,
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			test(newHouse(t, name, open))
		})
	}
}

// Changes of every kind, at every time: before the snapshot, between it and the copy, before and after the following begins.
func arrives(h *house) {
	write := func(when string) {
		h.execute(`
INSERT INTO keyed (id, v) SELECT max(id) + 1, '` + when + `' FROM keyed;
UPDATE keyed SET v = v || ', ` + when + `' WHERE id % 10 = 1;
DELETE FROM keyed WHERE id = (SELECT max(id) - 1 FROM keyed);
INSERT INTO keyless VALUES ('` + when + `'), ('` + when + `');
UPDATE keyless SET v = v || ', ` + when + `' WHERE v LIKE 'before 1%';
DELETE FROM keyless WHERE v LIKE '% 5';
UPDATE unlogged SET v = '` + when + `'`)
	}
	write("first")
	s, m := h.begin(func() { write("in the snapshot") })
	write("copied")
	f := h.follow(m)
	write("followed")
	h.execute(`TRUNCATE unlogged; INSERT INTO unlogged VALUES (2, 'last')`)
	h.drain(s, f)
	h.wantEqual()
	if position := f.Position(); (position == 0) != m.Deferred() {
		h.t.Errorf("the position is %s", position)
	}
}

// A row twice would show: keyless has no key.
func goesOn(h *house) {
	_, m := h.begin(func() {})
	f := h.follow(m)
	h.execute(`INSERT INTO keyless SELECT 'by the first worker' FROM generate_series(1, 50); UPDATE keyed SET v = 'by the first worker' WHERE id < 10`)
	h.must(f.Stop())
	h.execute(`INSERT INTO keyless SELECT 'by nobody' FROM generate_series(1, 50); DELETE FROM keyed WHERE id < 5`)
	h.job = h.newJob(h.job.ID, h.job.Epoch+1)
	s, m := h.attempt()
	known, err := h.job.Ledger.TakeOver(h.t.Context(), s.Target.Conn)
	h.must(err)
	if known.Method != h.name {
		h.t.Errorf("the ledger knows the method %q", known.Method)
	}
	h.must(m.Check(h.t.Context(), known))
	f = h.follow(m)
	h.execute(`INSERT INTO keyless SELECT 'by the second worker' FROM generate_series(1, 50); UPDATE keyed SET v = 'by the second worker' WHERE id < 20`)
	h.drain(s, f)
	h.wantEqual()
}

func anchors(h *house) {
	ctx := h.t.Context()
	_, m := h.attempt()
	h.must(m.Prepare(ctx))
	for name, anchor := range map[string]func(context.Context) (*snapshot.Anchor, error){"the first": m.Anchor, "a later": m.AnchorAgain} {
		expected := h.query(h.source, `SELECT count(*)::text FROM keyed`)
		a, err := anchor(ctx)
		h.must(err)
		h.execute(`INSERT INTO keyed SELECT max(id) + 1, 'later' FROM keyed; UPDATE keyed SET v = 'later'`)
		var shown string
		h.must(a.Keeper.Conn().QueryRow(ctx, `SELECT count(*)::text FROM public.keyed`).Scan(&shown))
		if shown != expected {
			h.t.Errorf("%s anchor shows %s rows of %s", name, shown, expected)
		}
		if len(a.Tables) != 3 {
			h.t.Errorf("%s anchor shows %d tables", name, len(a.Tables))
		}
		if positioned := a.Keeper.LSN != 0; positioned == m.Deferred() || positioned != (a.History.System != "") {
			h.t.Errorf("%s anchor has the position %s in the history %q", name, a.Keeper.LSN, a.History.System)
		}
		a.Close(ctx)
	}
}

func givesBack(h *house) {
	ctx := h.t.Context()
	_, m := h.attempt()
	h.must(m.Release(ctx)) // there is nothing yet
	for range 2 {
		h.must(m.Prepare(ctx))
		h.must(m.Prepare(ctx))
		anchor, err := m.Anchor(ctx)
		h.must(err)
		anchor.Close(ctx)
	}
	h.must(m.Release(ctx))
	h.must(m.Release(ctx))
	if state := h.sourceState(); state != h.before {
		h.t.Errorf("the source was\n%s\nand is\n%s", h.before, state)
	}
}

// An attempt that died before it had a ledger may have begun by another method.
func takesAway(h *house) {
	ctx := h.t.Context()
	s, m := h.attempt()
	found, err := catalog.TablesNow(ctx, s.Source.Conn)
	h.must(err)
	h.must(h.job.Capture(s.Source.Conn).Prepare(ctx, found))
	h.execute(`SELECT pg_create_logical_replication_slot('pgmig_` + h.job.ID + `', 'pgoutput')`)
	h.must(m.Prepare(ctx))
	anchor, err := m.Anchor(ctx)
	h.must(err)
	anchor.Close(ctx)
	if state := h.sourceState(); m.Deferred() && state != h.before {
		h.t.Errorf("the source was\n%s\nand is\n%s", h.before, state)
	}
	h.must(m.Release(ctx))
	if state := h.sourceState(); state != h.before {
		h.t.Errorf("after the release the source was\n%s\nand is\n%s", h.before, state)
	}
}

func ends(h *house) {
	s, m := h.begin(func() {})
	f := h.follow(m)
	select {
	case <-f.Done():
		h.t.Fatalf("the following has ended: %v", f.Err())
	case <-time.After(200 * time.Millisecond):
	}
	h.must(f.Stop())
	<-f.Done()
	h.must(f.Err())
	h.must(f.Stop())

	ctx, cancel := context.WithCancel(h.t.Context())
	f, err := m.Follow(ctx)
	h.must(err)
	cancel()
	select {
	case <-f.Done():
	case <-time.After(wait):
		h.t.Fatal("the following goes on although its context has ended")
	}
	if !errors.Is(f.Err(), context.Canceled) || f.Stop() == nil {
		h.t.Errorf("the following says that it ended because of %v", f.Err())
	}
	if !m.Deferred() {
		if err := f.Drain(h.t.Context(), s.Source.Conn); err == nil {
			h.t.Error("a following that has ended brings everything over")
		}
	}
}

func replaced(h *house) {
	s, m := h.begin(func() {})
	later := h.newJob(h.job.ID, h.job.Epoch+1)
	_, err := later.Ledger.TakeOver(h.t.Context(), s.Target.Conn)
	h.must(err)
	f, err := m.Follow(h.t.Context())
	if err == nil {
		select {
		case <-f.Done():
			err = f.Err()
		case <-time.After(wait):
			h.t.Fatal("the following goes on although another worker has taken over")
		}
	}
	if !errors.Is(err, ledger.ErrTakenOver) {
		h.t.Errorf("the following ended because of %v", err)
	}
}

// Whoever gives moments shows both sides with the same rows, while writers write.
func moments(h *house) {
	_, m := h.begin(func() {})
	f := h.follow(m)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	conn, err := pgx.Connect(h.t.Context(), h.source.URL())
	h.must(err)
	go func() {
		defer func() { _ = conn.Close(context.Background()) }()
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if _, err := conn.Exec(context.Background(), `INSERT INTO keyless VALUES ('while it is looked at')`); err != nil {
				stopped <- err
				return
			}
		}
	}()
	for range 3 {
		moment, err := f.Moment(h.t.Context(), wait)
		if errors.Is(err, trust.ErrNoMoment) && m.Deferred() {
			break
		}
		h.must(err)
		const sql = `SELECT count(*) FROM public.keyless`
		var source, target int
		h.must(moment.Source.Conn().QueryRow(h.t.Context(), sql).Scan(&source))
		h.must(moment.Target.Conn().QueryRow(h.t.Context(), sql).Scan(&target))
		if source != target || source < 100 {
			h.t.Errorf("at %s the source shows %d rows and the target %d", moment.LSN, source, target)
		}
		moment.Close(h.t.Context())
	}
	close(stop)
	h.must(<-stopped)
}

func whiles(h *house) {
	_, m := h.begin(func() {})
	sentinel := errors.New("the end")
	done := false
	err := m.While(h.t.Context(), func(context.Context) error {
		done = true
		return sentinel
	})
	if !done || !errors.Is(err, sentinel) {
		h.t.Errorf("what was to be done ended with %v", err)
	}
}
