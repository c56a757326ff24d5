package fence_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

const settingsSQL = `
SELECT setting
FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND setrole = 0
ORDER BY setting`

func (s *source) settings(t *testing.T) string {
	t.Helper()
	return query(t, s.conn, settingsSQL)
}

// Trap 45: new sessions cannot write unless they say so. Trap 54: whatever the database was set to before, it is set to again.
func TestTheOldSettingComesBack(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, `CREATE TABLE public.written (id int)`)
	database := pgx.Identifier{s.Database}.Sanitize()
	execute(t, s.conn, `ALTER DATABASE `+database+` SET work_mem = '5MB'`)
	for _, setting := range []string{"", "on", "off", "'1'", "'Yes'", "'TRUE'", "'f'"} {
		if setting != "" {
			execute(t, s.conn, `ALTER DATABASE `+database+` SET default_transaction_read_only = `+setting)
		}
		before := s.settings(t)
		for name, end := range map[string]func(context.Context, *pgx.Conn) error{"Lift": s.Lift, "Settle": s.Settle} {
			for range 2 {
				if warning, err := s.ReadOnly(t.Context(), s.conn); err != nil || warning != "" {
					t.Fatal(warning, err)
				}
			}
			if _, err := s.app(t).Exec(t.Context(), `INSERT INTO written VALUES (1)`); code(err) != "25006" {
				t.Errorf("a session of the application gets %v", err)
			}
			for range 2 {
				if err := end(t.Context(), s.conn); err != nil {
					t.Fatal(err)
				}
			}
			if after := s.settings(t); after != before {
				t.Errorf("%s: the database was set to\n%s\nand is set to\n%s", name, before, after)
			}
		}
	}
}

// Trap 45: sessions that began before the database was made read-only are ended, as far as the login may. Ours go on.
func TestSessionsAreEnded(t *testing.T) {
	t.Parallel()
	s := newSource(t, 15, ``)
	elsewhere := s.Login
	elsewhere.Database = "postgres"
	sessions := map[string]*pgx.Conn{
		"own":              s.app(t),
		"ours":             connect(t, s.URL(), "pgmig other"),
		"stranger":         s.stranger(t),
		"other database":   connect(t, elsewhere.URL(), "app"),
		"own and nameless": connect(t, s.URL(), ""),
	}
	if _, err := s.ReadOnly(t.Context(), s.conn); err != nil {
		t.Fatal(err)
	}
	checkEnded(t, sessions, "own", "own and nameless")
}

// checkEnded makes sure that exactly the named sessions are ended.
func checkEnded(t *testing.T, sessions map[string]*pgx.Conn, ended ...string) {
	t.Helper()
	for name, conn := range sessions {
		_, err := conn.Exec(t.Context(), `SELECT 1`)
		if gone := err != nil; gone != slices.Contains(ended, name) {
			t.Errorf("session %q is ended: %v (%v)", name, gone, err)
		}
	}
}

// newLogin makes another login of the source's database.
func (s *source) newLogin(t *testing.T, sql string) postgres.Login {
	t.Helper()
	l := s.Login
	l.User, l.Password = "key_"+s.Database, "secret"
	fill := strings.NewReplacer("{login}", l.User, "{owner}", s.User, "{database}", s.Database)
	if err := s.cluster.Exec(t.Context(), s.Database, fill.Replace(`CREATE ROLE {login} LOGIN PASSWORD 'secret'; `+sql)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cluster.Exec(context.Background(), s.Database, fill.Replace(`DROP OWNED BY {login} CASCADE`))
		_ = s.cluster.Exec(context.Background(), "postgres", fill.Replace(`DROP ROLE {login}`))
	})
	return l
}

// Trap 46: a login that does not own the database says so, and ends its own sessions only.
func TestALoginThatDoesNotOwnTheDatabase(t *testing.T) {
	t.Parallel()
	owner := newSource(t, 15, ``)
	execute(t, owner.conn, `DROP SCHEMA _pgmig_test CASCADE`)
	login := owner.newLogin(t, `GRANT CREATE ON DATABASE {database} TO {login}`)
	s := openSource(t, owner.cluster, login, ``)
	sessions := map[string]*pgx.Conn{"own": s.app(t), "owner's": owner.app(t)}
	warning, err := s.ReadOnly(t.Context(), s.conn)
	if err != nil || !strings.Contains(warning, "does not own") {
		t.Errorf("the warning is %q, %v", warning, err)
	}
	checkEnded(t, sessions, "own")
	if settings := s.settings(t); settings != "" {
		t.Errorf("the database is set to %s", settings)
	}
	s.lift(t)
}

// Trap 62: a login that is only a member of the owner and set to it ends the sessions of both.
func TestALoginThatIsSetToTheOwner(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		owner := newSource(t, major, ``)
		login := owner.newLogin(t, `GRANT {owner} TO {login}; ALTER ROLE {login} IN DATABASE {database} SET role TO {owner}`)
		s := openSource(t, owner.cluster, login, ``)
		sessions := map[string]*pgx.Conn{"own": s.app(t), "owner's": owner.app(t), "stranger": s.stranger(t)}
		warning, err := s.ReadOnly(t.Context(), s.conn)
		if err != nil || warning != "" {
			t.Fatal(warning, err)
		}
		checkEnded(t, sessions, "own", "owner's")
		if role := query(t, s.conn, `SELECT current_user::text`); role != owner.User {
			t.Errorf("the session then acts as %s", role)
		}
		s.lift(t)
		if settings := s.settings(t); settings != "" {
			t.Errorf("the database is set to %s", settings)
		}
	}
}
