package database_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// hostile is what a database or a role may set, in every way different from what our sessions need.
var hostile = map[string]struct{ theirs, ours string }{
	// Trap 33: settings that change the text of values, or what a text means.
	"DateStyle":                   {"'German, DMY'", "ISO, DMY"}, // ISO is read the same whatever the order
	"IntervalStyle":               {"'sql_standard'", "postgres"},
	"TimeZone":                    {"'Asia/Kathmandu'", "UTC"},
	"extra_float_digits":          {"-10", "3"},
	"bytea_output":                {"'escape'", "hex"},
	"lc_monetary":                 {"'C.UTF-8'", "C"},
	"xmloption":                   {"'document'", "content"},
	"standard_conforming_strings": {"off", "on"},
	"search_path":                 {"'public'", `""`},
	// Trap 7: a policy that hides rows has to be an error.
	"row_security": {"on", "off"},
	// Trap 2: time limits would end the sessions that keep a snapshot.
	"statement_timeout":                   {"'1h'", "0"},
	"lock_timeout":                        {"'1h'", "0"},
	"idle_in_transaction_session_timeout": {"'200ms'", "0"},
	"idle_session_timeout":                {"'1h'", "0"},
	// Trap 45: our own fence must not keep us out.
	"default_transaction_read_only": {"on", "off"},
	"default_transaction_isolation": {"'serializable'", "read committed"},
	// Trap 24: what a crash of the target could take back must not be confirmed. Trap 48: our marker comes after the commits of others.
	"synchronous_commit": {"off", "on"},
	// It would compile what reads a large table for longer than that takes.
	"jit": {"on", "off"},
}

func hostileDatabase(t *testing.T, major int) database.Endpoint {
	t.Helper()
	login := postgres.ForTest(t, major).NewDatabase(t, true)
	conn, err := pgx.Connect(t.Context(), login.URL())
	if err != nil {
		t.Fatal(err)
	}
	for name, setting := range hostile {
		for _, whose := range []string{"DATABASE %s", "ROLE %[2]s IN DATABASE %[1]s"} {
			sql := fmt.Sprintf("ALTER "+whose+" SET "+name+" = "+setting.theirs+"%.0[2]s", pgx.Identifier{login.Database}.Sanitize(), pgx.Identifier{login.User}.Sanitize())
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	_ = conn.Close(t.Context())
	return database.Endpoint{
		Database: database.Database{Host: login.Host, Port: login.Port, Name: login.Database, User: login.User, Password: login.Password, TLS: database.TLS{Mode: database.TLSDisable}},
	}
}

// Traps 2, 7, 24, 33, 45 and 48: whatever the database and the role set, all our sessions are alike, those of the replication too.
func TestOurSessionsAreAllAlike(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		e := hostileDatabase(t, major)
		conn, err := e.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		replication, err := e.ConnectReplication(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = replication.Close(context.WithoutCancel(t.Context())) }()
		for name, setting := range hostile {
			var value string
			if err := conn.QueryRow(t.Context(), "SHOW "+name).Scan(&value); err != nil {
				t.Fatal(err)
			}
			results, err := replication.Exec(t.Context(), "SHOW "+name).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range []string{value, string(results[0].Rows[0][0])} {
				if name == "DateStyle" {
					got, setting.ours = strings.Split(got, ",")[0], "ISO"
				}
				if got != setting.ours {
					t.Errorf("PostgreSQL %d: %s is %q", major, name, got)
				}
			}
		}
	}
}

// Trap 2: a snapshot outlives the session that it comes from, and the database's limit for idle transactions.
func TestASnapshotIsKept(t *testing.T) {
	t.Parallel()
	e := hostileDatabase(t, 15)
	first, err := e.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Exec(t.Context(), `CREATE TABLE public.a (id int)`); err != nil {
		t.Fatal(err)
	}
	current, err := snapshot.KeepCurrent(t.Context(), first, 0)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := snapshot.Keep(t.Context(), e.Connect, current.Name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close(t.Context())
	current.Close(t.Context())
	later, err := e.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = later.Close(context.WithoutCancel(t.Context())) }()
	if _, err := later.Exec(t.Context(), `INSERT INTO public.a VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	reader, err := kept.Dialer(e.Connect)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close(context.WithoutCancel(t.Context())) }()
	var rows int
	if err := reader.QueryRow(t.Context(), `SELECT count(*) FROM public.a`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("the snapshot shows %d later rows, %v", rows, err)
	}
}
