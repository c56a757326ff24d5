package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
)

const beforeDDL = `
CREATE TABLE a (id int PRIMARY KEY, v text, w int);
CREATE TABLE b (id int PRIMARY KEY, a_id int);
CREATE INDEX a_old ON a (v);
CREATE INDEX a_other ON a (w);
CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION gone("Odd, name" text, VARIADIC rest int[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER old_touch BEFORE UPDATE ON a FOR EACH ROW EXECUTE PROCEDURE touch();
CREATE VIEW v1 AS SELECT id FROM a;
CREATE VIEW v2 AS SELECT id FROM v1;
CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM b;
CREATE SEQUENCE old_numbers;
CREATE POLICY p ON a USING (id > 0);
COMMENT ON TABLE b IS 'it''s IS ''b''';
INSERT INTO a SELECT n, n::text, n FROM generate_series(1, 100) AS n;
INSERT INTO b SELECT n, n FROM generate_series(1, 100) AS n;
REFRESH MATERIALIZED VIEW m;
`

const harmlessDDL = `
DROP INDEX a_old;
CREATE INDEX a_new ON a (w, v);
DROP INDEX a_other;
CREATE INDEX a_other ON a (w DESC);
CREATE OR REPLACE FUNCTION f(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1';
DROP FUNCTION gone("Odd, name" text, VARIADIC rest int[]);
CREATE FUNCTION added("Odd, name" text) RETURNS int LANGUAGE sql AS 'SELECT f(1)';
DROP TRIGGER old_touch ON a;
CREATE TRIGGER new_touch BEFORE INSERT ON b FOR EACH ROW EXECUTE PROCEDURE touch();
DROP VIEW v2;
CREATE OR REPLACE VIEW v1 AS SELECT id, v FROM a WHERE f(id) > 0;
CREATE VIEW v3 AS SELECT id, added('x') FROM v1;
DROP MATERIALIZED VIEW m;
CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n, max(id) AS most FROM b;
DROP SEQUENCE old_numbers;
CREATE SEQUENCE "New Numbers" START 7;
SELECT nextval('"New Numbers"');
ALTER TABLE b ADD CONSTRAINT b_a FOREIGN KEY (a_id) REFERENCES a (id);
ALTER POLICY p ON a USING (id > 10);
CREATE RULE r AS ON DELETE TO b DO INSTEAD NOTHING;
COMMENT ON TABLE a IS 'a';
COMMENT ON TABLE b IS NULL;
`

// TestHarmlessDDLIsBroughtOver changes what rows do not mind while they are replicated.
func TestHarmlessDDLIsBroughtOver(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, beforeDDL)
	r := p.run(t)
	r.waitInSync(t)
	execute(t, p.source, harmlessDDL)
	execute(t, p.source, `INSERT INTO a SELECT n, n::text, n FROM generate_series(101, 200) AS n`)
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(strings.Join(r.Progress().Warnings, "\n"), "the finalization brings over"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is said of the changes: %v", r.Progress().Warnings)
		}
	}
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}

// TestAChangeThatCannotBeBroughtOverIsNamed stops the finalization while writers still work; the source stays as it is.
func TestAChangeThatCannotBeBroughtOverIsNamed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, beforeDDL)
	r := p.run(t)
	r.waitInSync(t)
	execute(t, p.source, `DROP FUNCTION f(int); CREATE FUNCTION f(n int) RETURNS text LANGUAGE sql AS 'SELECT n::text'`)
	wantFailure(t, r.Finalize(t.Context(), never), failure.SchemaChanged, "could not be brought over")
	execute(t, p.source, `INSERT INTO a VALUES (0, '', 0)`)
	execute(t, p.source, `DROP FUNCTION f(int); CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql AS 'SELECT n'`)
	r.waitInSync(t)
	r.finalize(t)
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	p.checkEqual(t)
}
