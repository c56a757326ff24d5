package engine_test

import "testing"

// Trap 43: a constraint that looks at other tables is broken while these are not complete, though no row of the source breaks
// it. Some rows of the source may: it does not look at them again when the other table changes.
func TestConstraintsThatReadOtherTables(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	execute(t, p.source, `
		CREATE TABLE z_limits (of text PRIMARY KEY, most int);
		INSERT INTO z_limits SELECT t, 1000 FROM unnest('{orders, parted, domain, broken}'::text[]) AS t;
		CREATE FUNCTION allowed(what text, n int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT coalesce(n <= (SELECT most FROM public.z_limits WHERE of = what), false)';
		-- It says what is not true.
		CREATE FUNCTION allowed_always(what text, n int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
			BEGIN RETURN coalesce(n <= (SELECT most FROM public.z_limits WHERE of = what), false); END $$;
		CREATE DOMAIN amount AS int CHECK (public.allowed('domain', VALUE));
		CREATE TABLE orders (id int PRIMARY KEY, n int CONSTRAINT n_allowed CHECK (public.allowed('orders', n)), CHECK (n > 0));
		CREATE TABLE inherited (CONSTRAINT n_allowed CHECK (public.allowed('orders', n))) INHERITS (orders);
		CREATE TABLE parted (id int, n int, CONSTRAINT "is ok" CHECK (public.allowed_always('parted', n))) PARTITION BY RANGE (id);
		CREATE TABLE parted_1 PARTITION OF parted (CHECK (public.allowed('parted', n))) FOR VALUES FROM (0) TO (5000);
		CREATE TABLE amounts (id int PRIMARY KEY, n amount);
		CREATE TABLE broken (id int PRIMARY KEY, n int CONSTRAINT later CHECK (public.allowed('broken', n)));
		COMMENT ON CONSTRAINT n_allowed ON orders IS 'it''s';
		COMMENT ON CONSTRAINT amount_check ON DOMAIN amount IS 'domain';
		INSERT INTO orders SELECT i, i FROM generate_series(1, 1000) AS i;
		INSERT INTO inherited SELECT i, i FROM generate_series(1, 1000) AS i;
		INSERT INTO parted SELECT i, i FROM generate_series(1, 1000) AS i;
		INSERT INTO amounts SELECT i, i FROM generate_series(1, 1000) AS i;
		INSERT INTO broken SELECT i, i FROM generate_series(1, 1000) AS i;
		UPDATE z_limits SET most = 10 WHERE of = 'broken'`)
	r := p.run(t)
	r.waitInSync(t)
	execute(t, p.source, `UPDATE z_limits SET most = 2000 WHERE of <> 'broken';
		INSERT INTO orders VALUES (2000, 2000); INSERT INTO parted VALUES (2000, 2000); INSERT INTO amounts VALUES (2000, 2000);
		UPDATE z_limits SET most = 3000 WHERE of <> 'broken'`)
	r.waitInSync(t)
	r.finalize(t)
	r.wantWarning(t, "check constraint later of TABLE public.broken is not validated")
	if left := query(t, p.target, `SELECT conname::text FROM pg_constraint WHERE NOT convalidated`); left != "later" {
		t.Errorf("constraints are not validated: %s", left)
	}
	if err := p.engine.Remove(t.Context(), p.migration, false); err != nil {
		t.Fatal(err)
	}
	execute(t, p.target, `UPDATE z_limits SET most = 2000 WHERE of = 'broken'; ALTER TABLE broken VALIDATE CONSTRAINT later; UPDATE z_limits SET most = 10 WHERE of = 'broken'`)
	p.checkEqual(t)
}
