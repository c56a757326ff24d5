package engine_test

import (
	"context"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// encoded makes another database of a login, with an encoding.
func encoded(t *testing.T, major int, login postgres.Login, encoding string) postgres.Login {
	t.Helper()
	cluster := postgres.ForTest(t, major)
	other := login
	other.Database += "_encoded"
	create := `CREATE DATABASE "` + other.Database + `" OWNER "` + other.User + `" TEMPLATE template0 LOCALE 'C' ENCODING '` + encoding + `'`
	if err := cluster.Exec(t.Context(), "postgres", create); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The owner belongs to the first database.
		if err := cluster.Exec(context.Background(), "postgres", `DROP DATABASE "`+other.Database+`" WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	if err := cluster.Exec(t.Context(), other.Database, `ALTER SCHEMA public OWNER TO "`+other.User+`"`); err != nil {
		t.Fatal(err)
	}
	return other
}

// Trap 10: what a database holds that is not UTF-8 arrives as it is. In SQL_ASCII any bytes do, also those that are no text at
// all in UTF-8: in rows, in names, in defaults.
func TestOtherEncodingsThanUTF8(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"SQL_ASCII", "LATIN1"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.source, p.target = encoded(t, sourceMajor, p.source, encoding), encoded(t, targetMajor, p.target, encoding)
			// chr makes one byte here, and ä or ÿ of it where bytes mean anything.
			execute(t, p.source, `
				CREATE TABLE bare (n int, v text);
				DO $$ BEGIN
					EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, %I text DEFAULT %L, a text[], big text)', 't' || chr(228), 'c' || chr(252), 'd' || chr(255));
					EXECUTE format('COMMENT ON TABLE bare IS %L', chr(228));
					EXECUTE format('INSERT INTO %I (id, a, big) SELECT i, ARRAY[chr(128 + i), ''x"'' || chr(129)], repeat(chr(228), 10000) FROM generate_series(1, 127) AS i', 't' || chr(228));
				END $$;
				INSERT INTO bare SELECT i % 3, chr(228) FROM generate_series(1, 9) AS i`)
			r := p.run(t)
			r.waitInSync(t)
			execute(t, p.source, `
				DO $$ BEGIN
					EXECUTE format('UPDATE %I SET a = a || chr(id + 128) WHERE id %% 2 = 0', 't' || chr(228));
					EXECUTE format('INSERT INTO %I (id, big) VALUES (200, chr(228) || chr(10) || chr(255))', 't' || chr(228));
				END $$;
				UPDATE bare SET v = v || chr(255) WHERE n = 1;
				DELETE FROM bare WHERE n = 2`)
			r.waitInSync(t)
			r.finalize(t)
			for _, sql := range []string{
				`SELECT encode(relname::text::bytea, 'hex') FROM pg_class WHERE relname LIKE 't_' AND relkind = 'r'`,
				`SELECT encode(obj_description('bare'::regclass)::bytea, 'hex')`,
				`SELECT string_agg(n || encode(v::bytea, 'hex'), ' ' ORDER BY n, v) FROM bare`,
				`SELECT md5((xpath('/*/*/text()', query_to_xml(format('SELECT string_agg(encode(textsend(t::text), ''hex''), '' '' ORDER BY id) FROM %I AS t', 't' || chr(228)), true, true, '')))[1]::text)`,
			} {
				if source, target := query(t, p.source, sql), query(t, p.target, sql); source != target || source == "" || source == "NULL" {
					t.Errorf("the source has\n%s\nand the target\n%s", source, target)
				}
			}
		})
	}
}
