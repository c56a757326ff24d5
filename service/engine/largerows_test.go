package engine_test

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var largeRow = flag.Int("large-row", 8, "`MB` of the values in TestLargeRows")

// Rows with values of many megabytes, compressed and not, in a table with a key and one without, in the copy, in the stream and
// under the fence.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	size := *largeRow << 20
	text := fmt.Sprintf("repeat(md5(random()::text), %d)", size/32)
	bytes := fmt.Sprintf("decode(repeat(md5(random()::text), %d), 'hex')", size/16)
	execute(t, p.source, `
		CREATE TABLE keyed (id int PRIMARY KEY, n int, t text, b bytea);
		ALTER TABLE keyed ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
		CREATE TABLE keyless (n int, t text);
		CREATE TABLE compressed (id int PRIMARY KEY, b bytea, j jsonb);
		INSERT INTO keyed VALUES (1, 1, `+text+`, NULL), (2, 2, NULL, `+bytes+`);
		INSERT INTO keyless VALUES (1, `+text+`);
		INSERT INTO compressed SELECT 1, `+bytes+`, jsonb_build_array(`+text+`)`)
	r := p.run(t)
	r.waitInSync(t)
	for _, sql := range []string{
		`INSERT INTO keyed VALUES (3, 3, NULL, ` + bytes + `), (4, 4, ` + text + `, NULL)`,
		`UPDATE keyed SET n = -n`, // the large values do not change and are not sent
		`UPDATE keyed SET t = t || 'x' WHERE t IS NOT NULL`,
		`UPDATE keyed SET id = 5 WHERE id = 2`,
		`DELETE FROM keyed WHERE id = 3`,
		`INSERT INTO keyless VALUES (2, ` + text + `)`,
		`UPDATE keyless SET n = 3 WHERE n = 1`,
		`DELETE FROM keyless WHERE n = 2`,
		`UPDATE compressed SET j = j || '1'`,
		`INSERT INTO keyed (id) VALUES (6)`,
	} {
		execute(t, p.source, sql)
	}
	for deadline := time.Now().Add(5 * time.Minute); query(t, p.target, `SELECT id::text FROM keyed WHERE id = 6`) == ""; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the last change does not arrive: %+v", r.Progress())
		}
	}
	r.waitInSync(t)
	r.finalize(t)
	for _, sql := range []string{
		`SELECT id || ' ' || coalesce(n, 0) || ' ' || coalesce(length(t), 0) || ' ' || coalesce(md5(t), '') || ' ' || coalesce(length(b), 0) || ' ' || coalesce(md5(b), '') FROM keyed ORDER BY id`,
		`SELECT n || ' ' || length(t) || ' ' || md5(t) FROM keyless ORDER BY n`,
		`SELECT id || ' ' || length(b) || ' ' || md5(b) || ' ' || md5(j::text) FROM compressed`,
	} {
		source, target := query(t, p.source, sql), query(t, p.target, sql)
		if source != target {
			t.Errorf("the source has\n%s\nthe target\n%s", source, target)
		}
		t.Log(target)
	}
	for _, v := range r.FinalizationProgress().Verification {
		t.Logf("%+v", v)
	}
}
