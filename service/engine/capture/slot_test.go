package capture_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
)

// connectReplication opens a session for replication that ends with the test.
func (d database) connectReplication(t *testing.T) *pgconn.PgConn {
	t.Helper()
	conn, err := d.replicate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (d database) createSlot(t *testing.T) capture.Point {
	t.Helper()
	point, err := capture.CreateSlot(t.Context(), d.connectReplication(t), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	return point
}

// read begins to read the migration's slot.
func (d database) read(t *testing.T, conn *pgconn.PgConn) {
	t.Helper()
	err := pglogrepl.StartReplication(t.Context(), conn, capture.Slot(d.ID), 0, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: []string{"proto_version '1'", "publication_names '" + capture.Slot(d.ID) + "'"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (d database) slots(t *testing.T) string {
	t.Helper()
	return query(t, d.Conn, `SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`)
}

// ended says whether the server ends a session within ten seconds.
func ended(t *testing.T, conn *pgconn.PgConn) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		if _, err := conn.ReceiveMessage(ctx); err != nil {
			return ctx.Err() == nil
		}
	}
}

// Trap 4: the slot waits for what writes now. Its snapshot and its stream together hold every row that anybody commits
// meanwhile, and none of them twice.
func TestTheSnapshotShowsWhatCommitsBeforeTheSlot(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, `CREATE TABLE public.written (id int PRIMARY KEY)`)
	d.prepare(t)
	open, xid := beginWriting(t, d.URL())
	if _, err := open.Exec(t.Context(), `INSERT INTO public.written VALUES (-1)`); err != nil {
		t.Fatal(err)
	}
	writing, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	acknowledged := make([][]string, 3)
	for w := range acknowledged {
		conn := connect(t, d.URL())
		execute(t, conn, `SET synchronous_commit = on`) // only what is on the disk is in the stream
		writers.Go(func() {
			for id := w; writing.Err() == nil; id += len(acknowledged) {
				if _, err := conn.Exec(t.Context(), fmt.Sprintf(`INSERT INTO public.written VALUES (%d)`, id)); err != nil {
					t.Error(err)
					return
				}
				acknowledged[w] = append(acknowledged[w], fmt.Sprint(id))
			}
		})
	}
	var point capture.Point
	created := make(chan error, 1)
	replication := d.connectReplication(t)
	go func() {
		var err error
		point, err = capture.CreateSlot(t.Context(), replication, d.ID)
		created <- err
	}()
	within(t, "the slot waits for the writer", func() bool {
		return query(t, d.Conn, `SELECT count(*)::text FROM pg_locks WHERE NOT granted AND transactionid::text = $1`, xid) != "0"
	})
	before, err := pglogrepl.ParseLSN(query(t, d.Conn, `SELECT pg_current_wal_insert_lsn()::text`))
	if err != nil {
		t.Fatal(err)
	}
	commit(t, open)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	stop()
	writers.Wait()

	var shown []string
	err = pgx.BeginTxFunc(t.Context(), connect(t, d.URL()), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SET TRANSACTION SNAPSHOT '`+point.Snapshot+`'`); err != nil {
			return err
		}
		shown = strings.Split(query(t, tx.Conn(), `SELECT id::text FROM public.written`), "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	streamed := d.inserted(t, point.LSN)
	if !slices.Contains(shown, "-1") || point.LSN <= before {
		t.Errorf("the slot begins at %s, and a transaction that it waited for and that committed after %s is not before it", point.LSN, before)
	}
	if len(streamed) == 0 || len(shown) < 2 {
		t.Fatalf("%d rows are in the snapshot and %d in the stream", len(shown), len(streamed))
	}
	all := slices.Concat(append(acknowledged, []string{"-1"})...)
	got := slices.Concat(shown, streamed)
	slices.Sort(all)
	slices.Sort(got)
	if !slices.Equal(got, all) {
		t.Errorf("%d rows were written, %d are in the snapshot and %d in the stream", len(all), len(shown), len(streamed))
	}
}

// inserted gives the rows that the slot's stream inserts, all of which commit at or after from.
func (d database) inserted(t *testing.T, from pglogrepl.LSN) (ids []string) {
	t.Helper()
	rows, err := d.Conn.Query(t.Context(), `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', $2)`, capture.Slot(d.ID), capture.Slot(d.ID))
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range messages {
		message, err := pglogrepl.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		switch message := message.(type) {
		case *pglogrepl.BeginMessage:
			if message.FinalLSN < from {
				t.Errorf("a transaction of the stream commits at %s, before %s", message.FinalLSN, from)
			}
		case *pglogrepl.InsertMessage:
			ids = append(ids, string(message.Tuple.Columns[0].Data))
		}
	}
	return ids
}

// A temporary slot stands beside the permanent one, and goes with its session.
func TestATemporarySlot(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, `CREATE TABLE public.written (id int PRIMARY KEY); INSERT INTO public.written VALUES (1)`)
	first := d.createSlot(t)
	replication := d.connectReplication(t)
	point, err := capture.CreateTemporarySlot(t.Context(), replication, d.ID, "later")
	if err != nil {
		t.Fatal(err)
	}
	if point.LSN < first.LSN || point.Snapshot == "" {
		t.Errorf("the later point %+v does not follow %+v", point, first)
	}
	slot := capture.Slot(d.ID)
	if slots := d.slots(t); !strings.Contains(slots, slot+"_later") {
		t.Errorf("the slots are %s", slots)
	}
	if err := replication.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, "the permanent slot is left alone", func() bool { return d.slots(t) == slot })
	if _, err := capture.CreateSlot(t.Context(), d.connectReplication(t), d.ID); err == nil {
		t.Error("a slot is made twice")
	}
}

// Trap 62: a login that is only a member of the owner and set to it ends the session that reads its slot, and drops it. The
// slots of others stay.
func TestALoginThatIsSetToTheOwnerDropsItsSlot(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			cluster := postgres.ForTest(t, major)
			owner := cluster.NewDatabase(t, false)
			d := database{Login: owner, Source: capture.Source{ID: strings.TrimPrefix(owner.Database, "test_")}}
			d.User, d.Password = "key_"+d.ID, "secret"
			if err := cluster.Exec(t.Context(), owner.Database, strings.NewReplacer("{login}", d.User, "{owner}", owner.User, "{database}", owner.Database).Replace(`
				CREATE ROLE {login} LOGIN REPLICATION PASSWORD 'secret';
				GRANT {owner} TO {login};
				ALTER ROLE {login} IN DATABASE {database} SET role TO {owner}`)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cluster.Exec(context.Background(), "postgres", `DROP ROLE `+d.User) })
			d.Conn = connect(t, d.URL())
			if role := query(t, d.Conn, `SELECT current_user::text`); role != owner.User {
				t.Fatalf("the login acts as %s", role)
			}
			d.prepare(t)
			d.createSlot(t)
			other := d.ID + "0"
			if _, err := capture.CreateSlot(t.Context(), d.connectReplication(t), other); err != nil {
				t.Fatal(err)
			}
			reader := d.connectReplication(t)
			d.read(t, reader)
			for range 2 {
				if err := d.DropSlot(t.Context(), d.replicate); err != nil {
					t.Fatal(err)
				}
			}
			if !ended(t, reader) {
				t.Error("the slot's reader is not ended")
			}
			if slots := d.slots(t); slots != capture.Slot(other) {
				t.Errorf("the slots are %q", slots)
			}
			if role := query(t, d.Conn, `SELECT current_user::text`); role != owner.User {
				t.Errorf("the session then acts as %s", role)
			}
		})
	}
}

// Where no slot is, none is dropped. A session of another login cannot be ended: when it goes by itself, the slot is dropped.
func TestASlotThatAnotherLoginReads(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, ``)
	d.prepare(t)
	if exists, err := d.EndSlotSession(t.Context()); err != nil || exists {
		t.Errorf("before it is made, the slot exists: %v, %v", exists, err)
	}
	err := d.DropSlot(t.Context(), func(context.Context) (*pgconn.PgConn, error) { return nil, errors.New("nobody has to connect") })
	if err != nil {
		t.Error(err)
	}
	d.createSlot(t)
	reader, err := replicate(t.Context(), postgres.ForTest(t, 15).URL(d.Database))
	if err != nil {
		t.Fatal(err)
	}
	d.read(t, reader)
	if exists, err := d.EndSlotSession(t.Context()); err != nil || !exists {
		t.Fatalf("the slot exists: %v, %v", exists, err)
	}
	done := make(chan error, 1)
	go func() { done <- d.DropSlot(t.Context(), d.replicate) }()
	select {
	case err := <-done:
		t.Fatalf("a slot that is read: %v", err)
	case <-time.After(400 * time.Millisecond):
	}
	if err := reader.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if slots := d.slots(t); slots != "" {
		t.Errorf("the slots are %q", slots)
	}
}

func (d database) state(t *testing.T) capture.SlotState {
	t.Helper()
	state, err := d.SlotState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

const megabyte = 1 << 20

// The oldest version does not know all that is asked for.
func TestSlotState(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 10, `CREATE TABLE public.written (filler text)`)
	if state := d.state(t); state.Exists || state.Lost || state.Behind != 0 || state.Limit != 0 || state.Now == 0 {
		t.Errorf("without a slot: %+v", state)
	}
	d.createSlot(t)
	before := d.state(t)
	if !before.Exists || before.Lost || before.Limit != 0 {
		t.Errorf("with a slot: %+v", before)
	}
	execute(t, d.Conn, `INSERT INTO public.written SELECT repeat('x', 1000) FROM generate_series(1, 2000)`)
	after := d.state(t)
	if after.Behind < before.Behind+2*megabyte*9/10 || after.Now < before.Now+2*megabyte*9/10 {
		t.Errorf("before 2 MB were written: %+v, and after: %+v", before, after)
	}
}

// Trap 41: a slot whose WAL is removed is lost.
func TestASlotIsLost(t *testing.T) {
	t.Parallel()
	cluster, err := postgres.Start(t.Context(), postgres.Options{Major: 15, Settings: map[string]string{
		"max_slot_wal_keep_size": "16MB", "min_wal_size": "32MB", "max_wal_size": "32MB",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	login, err := cluster.CreateOwnerDatabase(t.Context(), "lost", true)
	if err != nil {
		t.Fatal(err)
	}
	d := database{Login: login, Source: capture.Source{ID: "lost", Conn: connect(t, login.URL())}}
	d.createSlot(t)
	if state := d.state(t); !state.Exists || state.Lost || state.Limit != 16*megabyte {
		t.Errorf("before: %+v", state)
	}
	admin := connect(t, cluster.URL("lost"))
	within(t, "the slot is lost", func() bool {
		for _, sql := range []string{`SELECT txid_current()`, `SELECT pg_switch_wal()`, `CHECKPOINT`} {
			execute(t, admin, sql)
		}
		return d.state(t).Lost
	})
	if state := d.state(t); !state.Exists {
		t.Errorf("after: %+v", state)
	}
}
