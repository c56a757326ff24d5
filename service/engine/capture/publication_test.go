package capture_test

import (
	"strconv"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

func versionName(major int) string { return "PostgreSQL " + strconv.Itoa(major) }

const publishedSQL = `
SELECT c.relname::text
FROM pg_publication AS p
JOIN pg_publication_rel AS r ON r.prpubid = p.oid
JOIN pg_class AS c ON c.oid = r.prrelid
WHERE p.pubname = $1
ORDER BY c.relname::text COLLATE "C"`

// Trap 20: every table that holds rows is published by itself, as is what comes to be known later. An unlogged one cannot be.
func TestAllTablesArePublishedButTheUnloggedOnes(t *testing.T) {
	t.Parallel()
	for major, kinds := range map[int]string{10: "insert update delete", 15: "insert update delete truncate"} {
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, major, identityTables)
			all := tables(t, d.Conn)
			for _, some := range [][]catalog.Table{all[:4], all, all} {
				if err := d.Prepare(t.Context(), some); err != nil {
					t.Fatal(err)
				}
			}
			const want = `a "keyless" table. Yes
a keyed.table
beat
child
deferrable_key
full_identity
index_identity
keyed
keyless
nothing_identity
parent
partition
unique_only`
			if published := query(t, d.Conn, publishedSQL, capture.Slot(d.ID)); published != want {
				t.Errorf("published are\n%s", published)
			}
			kindsSQL := `SELECT concat_ws(' ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END,
				CASE WHEN (to_jsonb(p) ->> 'pubtruncate')::boolean THEN 'truncate' END) FROM pg_publication AS p`
			if published := query(t, d.Conn, kindsSQL); published != kinds {
				t.Errorf("published are the kinds %s", published)
			}
		})
	}
}

// So many tables do not go into one statement.
func TestManyTablesArePublished(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, 15, `DO $$
		BEGIN
			FOR i IN 1..501 LOOP
				EXECUTE format('CREATE TABLE public.t%1$s (); ALTER TABLE public.t%1$s REPLICA IDENTITY FULL', i);
			END LOOP;
		END $$`)
	d.prepare(t)
	if published := query(t, d.Conn, `SELECT count(*)::text FROM pg_publication_rel`); published != "502" {
		t.Errorf("%s tables are published", published)
	}
}
