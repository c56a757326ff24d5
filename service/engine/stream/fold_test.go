package stream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

// crowdSQL has few rows that much happens to.
const crowdSQL = `
CREATE TYPE state AS ENUM ('new', 'it''s "old"', '');
CREATE TYPE pair AS (a text, b int[]);
CREATE DOMAIN word AS text CHECK (VALUE <> 'forbidden');
CREATE DOMAIN ints AS int[];
CREATE TABLE keyed (
    id int PRIMARY KEY,
    v int,
    big text,
    twin int UNIQUE,
    late int UNIQUE DEFERRABLE INITIALLY DEFERRED,
    bigger text
);
ALTER TABLE keyed ALTER big SET STORAGE EXTERNAL, ALTER bigger SET STORAGE EXTERNAL;
CREATE TABLE two ("a ""b" text, dropped int, n numeric, v text, PRIMARY KEY ("a ""b", n));
ALTER TABLE two DROP COLUMN dropped;
CREATE TABLE keyless (n numeric, t text);
CREATE TABLE observed (k text PRIMARY KEY, v text);
ALTER TABLE observed REPLICA IDENTITY FULL;
CREATE TABLE long_key (k text PRIMARY KEY, v int);
ALTER TABLE long_key ALTER k SET STORAGE EXTERNAL;
CREATE TABLE kinds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    t text, vc varchar(20), c char(5), w word, s state, p pair, ps pair[], i int[], t2 text[], d ints, n numeric(9, 2), ns numeric(9, 2)[], f float8,
    b bytea, bi bit(5), vb varbit(9), m money, j json, jb jsonb, ts timestamptz, iv interval, bx box, pt point, r int4range, "char" "char", o oid, nm name,
    twice bigint GENERATED ALWAYS AS (id * 2) STORED, x xml, ip inet, bl boolean
);
CREATE TABLE child_first (b int, id int PRIMARY KEY);
CREATE TABLE nothing ();
`

// strange are texts that a literal could get wrong.
var strange = []string{
	``, ` `, `NULL`, `null`, `"`, `""`, `\`, `\\`, `'`, `,`, `(`, `)`, `{`, `}`, `{}`, `()`, `"\"`, `\"`, `a,b`, "line\nbreak\ttab\r", `a "quoted" \ back`,
	`ünïcödé 漢字 🐘`, ` lead`, `trail `, `\x00`, `{"a": [1, "b\\"]}`, `$1`, `E'\n'`, "\u00a0", "\x7f\x01",
}

// chaos makes random changes, many of them to the same rows and some that fail.
type chaos struct {
	*rand.Rand
	conn *pgx.Conn
}

func (c chaos) text() string {
	switch c.IntN(4) {
	case 0:
		return strange[c.IntN(len(strange))]
	case 1:
		return strange[c.IntN(len(strange))] + strange[c.IntN(len(strange))]
	case 2:
		return fmt.Sprint(c.IntN(100))
	default:
		return strings.Repeat("x", c.IntN(3000))
	}
}

func (c chaos) change() (sql string, args []any) {
	id, other := c.IntN(12), c.IntN(12)
	word := fmt.Sprintf("k%d", c.IntN(4))
	number := []string{"1", "1.0", "1.00", "2", "0.5"}[c.IntN(5)]
	switch c.IntN(34) {
	case 0, 1, 2, 3:
		return `INSERT INTO keyed VALUES ($1, $2, $3, $4, $5, $6)`, []any{id, c.IntN(9), c.text(), c.IntN(20), c.IntN(20), c.text()}
	case 4, 5, 6:
		return `UPDATE keyed SET v = v + 1 WHERE id = $1`, []any{id}
	case 7:
		return `UPDATE keyed SET big = $2 WHERE id = $1`, []any{id, strings.Repeat(c.text(), 3)}
	case 8:
		return `UPDATE keyed SET bigger = $2, v = NULL WHERE id = $1`, []any{id, strings.Repeat("y", 2500+c.IntN(2000))}
	case 9, 10, 11:
		return `DELETE FROM keyed WHERE id = $1`, []any{id}
	case 12: // a swap of values that an immediate unique index sees one by one
		return `WITH gone AS (UPDATE keyed SET twin = NULL WHERE id = $1 RETURNING id) UPDATE keyed SET twin = twin + 1 WHERE id = $2`, []any{id, other}
	case 13:
		return `UPDATE keyed SET twin = $2 WHERE id = $1`, []any{id, c.IntN(20)}
	case 14: // a rotation that only a deferred unique constraint takes
		return `UPDATE keyed SET late = CASE id WHEN $1 THEN (SELECT late FROM keyed WHERE id = $2) ELSE (SELECT late FROM keyed WHERE id = $1) END WHERE id IN ($1, $2)`, []any{id, other}
	case 15: // a key that changes, and one that goes on to where another was
		return `UPDATE keyed SET id = $2 WHERE id = $1`, []any{id, other}
	case 16:
		return `UPDATE keyed SET id = -id - 1 WHERE id = $1`, []any{id}
	case 17:
		return `INSERT INTO two VALUES ($1, $2::text::numeric, $3)`, []any{word, number, c.text()}
	case 18:
		return `UPDATE two SET v = $3 WHERE "a ""b" = $1 AND n = $2::text::numeric`, []any{word, number, c.text()}
	case 19:
		return `UPDATE two SET n = $2::text::numeric WHERE "a ""b" = $1`, []any{word, number}
	case 20:
		return `DELETE FROM two WHERE "a ""b" = $1`, []any{word}
	case 21, 22:
		return `INSERT INTO keyless SELECT $1::text::numeric, $2 FROM generate_series(1, $3::int)`, []any{number, word, 1 + c.IntN(3)}
	case 23:
		return `UPDATE keyless SET n = n + 1.0 WHERE ctid = (SELECT ctid FROM keyless WHERE n::text = $1 LIMIT 1)`, []any{number}
	case 24:
		return `DELETE FROM keyless WHERE n = $1::text::numeric AND t = $2`, []any{number, word}
	case 25:
		return `INSERT INTO observed VALUES ($1, $2)`, []any{word, strings.Repeat(c.text(), 3)}
	case 26:
		return `UPDATE observed SET v = v || 'x' WHERE k = $1`, []any{word}
	case 27:
		return `UPDATE observed SET k = k || '.' WHERE k = $1`, []any{word}
	case 28:
		return `DELETE FROM observed WHERE k < $1`, []any{word + ".."}
	case 29:
		return `INSERT INTO long_key VALUES (repeat($1, 1100), 0)`, []any{word}
	case 30:
		return `UPDATE long_key SET v = v + 1 WHERE k LIKE $1`, []any{word + "%"}
	case 31:
		return `DELETE FROM long_key WHERE k LIKE $1`, []any{word + "%"}
	case 32:
		if c.IntN(5) == 0 {
			return `TRUNCATE ` + []string{`keyed`, `keyless, two`, `observed, long_key`}[c.IntN(3)], nil
		}
		return `INSERT INTO nothing DEFAULT VALUES`, nil
	default:
		return `INSERT INTO child_first (id, b) SELECT i, i FROM generate_series($1::int, $1 + 30) AS i ON CONFLICT (id) DO UPDATE SET b = child_first.b + 1`, []any{id}
	}
}

var errTakenBack = errors.New("taken back")

// transaction makes some changes, some of them in savepoints that are taken back.
func (c chaos) transaction(ctx context.Context) error {
	if c.IntN(30) == 0 {
		return expected(pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
			for _, sql := range []string{
				`INSERT INTO observed VALUES ('t', 't') ON CONFLICT DO NOTHING`,
				`TRUNCATE ` + []string{`keyed`, `keyless, two`, `observed, long_key`}[c.IntN(3)],
				`INSERT INTO keyed VALUES (5, 5) ON CONFLICT (id) DO NOTHING`,
			} {
				if _, err := tx.Exec(ctx, sql); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	err := pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		for range 1 + c.IntN(8) {
			err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
				sql, args := c.change()
				if _, err := savepoint.Exec(ctx, sql, args...); err != nil {
					return fmt.Errorf("running %s with %v: %w", sql, args, err)
				}
				if c.IntN(8) == 0 {
					return errTakenBack
				}
				return nil
			})
			if err = expected(err); err != nil {
				return err
			}
		}
		if c.IntN(10) == 0 {
			return errTakenBack
		}
		return nil
	})
	return expected(err)
}

func expected(err error) error {
	var pg *pgconn.PgError
	if errors.Is(err, errTakenBack) || errors.Is(err, pgx.ErrTxCommitRollback) || errors.As(err, &pg) && (pg.Code[:2] == "23" || pg.Code == "55006") {
		return nil
	}
	return err
}

// Trap 16: keyless rows. Trap 17: keys that change. Trap 18: large values. Trap 27: another order of columns on the target.
// Trap 28: deferrable and immediate unique values that move. Trap 32: NULL, the empty text and what was not sent. Trap 39: savepoints.
func TestAnyChangesArriveAsTheyWereMade(t *testing.T) {
	t.Parallel()
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	// The columns of a row type may come in another order on the target.
	r := newRouteOf(t, crowdSQL, strings.Replace(crowdSQL, "b int, id int PRIMARY KEY", "id int PRIMARY KEY, b int", 1))
	writer := connect(t, r.sourceURL)
	if _, err := writer.Exec(t.Context(), "SET search_path = public"); err != nil {
		t.Fatal(err)
	}
	for range rounds {
		seed := rand.Uint64()
		c := chaos{Rand: rand.New(rand.NewPCG(seed, 0)), conn: writer}
		backlog := 20 + c.IntN(150)
		for range backlog {
			if err := c.transaction(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		a := r.run(t)
		for range c.IntN(50) {
			if err := c.transaction(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		r.drain(t, a)
		if err := a.ended(t); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		r.checkEqual(t)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// script applies one backlog of statements, each a transaction of its own.
func (r *route) script(t *testing.T, statements ...string) *running {
	t.Helper()
	for _, sql := range statements {
		r.exec(t, r.source, sql)
	}
	a := r.run(t)
	r.drain(t, a)
	if err := a.ended(t); err != nil {
		t.Fatal(err)
	}
	r.checkEqual(t)
	return a
}

// padding makes a window worth folding.
const padding = `INSERT INTO padding SELECT generate_series(1, 100)`

// Traps 17, 18 and 34: keys, large values and TRUNCATE among changes that are applied together.
func TestChangesOfTheSameRowAreFolded(t *testing.T) {
	t.Parallel()
	const schema = `CREATE TABLE padding (i int); CREATE TABLE a (id int PRIMARY KEY, v int, big text, u int UNIQUE);
		ALTER TABLE a ALTER big SET STORAGE EXTERNAL; INSERT INTO a SELECT i, 0, repeat('b', 5000), i FROM generate_series(1, 40) AS i`
	for name, script := range map[string][]string{
		"insert, delete, insert":         {padding, `INSERT INTO a SELECT generate_series(41, 60), 1`, `DELETE FROM a WHERE id > 40`, `INSERT INTO a SELECT generate_series(41, 60), 2`},
		"insert, delete":                 {padding, `INSERT INTO a SELECT generate_series(41, 60), 1`, `UPDATE a SET v = 9`, `DELETE FROM a WHERE id > 40`},
		"delete, insert":                 {padding, `DELETE FROM a`, `INSERT INTO a SELECT generate_series(1, 60), 2`, `UPDATE a SET v = 3 WHERE id < 10`},
		"delete, insert, delete":         {padding, `DELETE FROM a`, `INSERT INTO a SELECT generate_series(1, 60), 2`, `DELETE FROM a WHERE id < 50`},
		"update, delete":                 {padding, `UPDATE a SET v = id`, `DELETE FROM a WHERE id % 2 = 0`},
		"large value changed, then kept": {padding, `UPDATE a SET big = repeat('c', 6000)`, `UPDATE a SET v = 1`, `UPDATE a SET v = 2 WHERE id < 20`},
		"large value kept, then changed": {padding, `UPDATE a SET v = 1`, `UPDATE a SET big = repeat('c', 6000) WHERE id < 20`, `UPDATE a SET big = NULL WHERE id > 35`},
		"large value kept after insert":  {padding, `INSERT INTO a SELECT i, 0, repeat('d', 7000) FROM generate_series(41, 60) AS i`, `UPDATE a SET v = 1`},
		"truncate in the middle":         {padding, `UPDATE a SET v = 1`, `TRUNCATE a`, `INSERT INTO a SELECT generate_series(1, 60), 2`, `UPDATE a SET v = 3`},
		"truncate in a transaction":      {padding, `BEGIN; UPDATE a SET v = 1; TRUNCATE a, padding; INSERT INTO a SELECT generate_series(1, 30), 2; COMMIT`},
		"keys that move up":              {padding, `UPDATE a SET id = -id`, `UPDATE a SET id = -id + 1`, `UPDATE a SET v = id`},
		"unique values that move":        {padding, `UPDATE a SET u = -u`, `UPDATE a SET u = 41 + u`, `UPDATE a SET v = u`},
		"unique value of a deleted row":  {padding, `DELETE FROM a WHERE id < 20`, `UPDATE a SET u = u - 19`, `INSERT INTO a SELECT i, 0, '', 100 - i FROM generate_series(1, 19) AS i`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newRoute(t, schema).script(t, script...)
		})
	}
}

func TestEveryTypeArrivesAsItIs(t *testing.T) {
	t.Parallel()
	r := newRoute(t, crowdSQL)
	const row = `INSERT INTO kinds (t, vc, c, w, s, p, ps, i, t2, d, n, ns, f, b, bi, vb, m, j, jb, ts, iv, bx, pt, r, "char", o, nm, x, ip, bl)
		SELECT $1, left($1, 20), left($1, 3), $1, (enum_range(NULL::public.state))[1 + $2 % 3], ROW($1, ARRAY[[1, NULL], [$2, 3]])::public.pair, ARRAY[ROW($1, NULL), NULL, ROW(NULL, '{}')]::public.pair[],
			ARRAY[[1, $2], [NULL, 4]], ARRAY[$1, NULL, ''], ARRAY[$2], $2 / 7.0, ARRAY[$2, 1.5], $2 / 3.0, convert_to($1, 'UTF8'), ($2 % 32)::bit(5), B'101', $2, to_json($1), to_jsonb($1),
			timestamptz '2026-01-02 03:04:05.678901+02' + $2 * interval '1 day 1 us', make_interval(days => $2, secs => 0.5), '(1,2),(3,4)', '(5,6)', int4range($2, $2 + 5), chr(33 + $2), $2, left($1, 60), xmlelement(name a, $1), '10.0.0.1/8', true
		FROM (SELECT $1::text, $2::int) AS x`
	if _, err := r.source.Exec(t.Context(), "SET search_path = public"); err != nil {
		t.Fatal(err)
	}
	for i, s := range strange {
		if strings.ContainsAny(s, "\x01") {
			continue // not in XML
		}
		if _, err := r.source.Exec(t.Context(), row, s, i); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	}
	a := r.script(t, `INSERT INTO kinds (t) SELECT NULL FROM generate_series(1, 30)`, `UPDATE kinds SET nm = 'changed'`)
	if n := a.counts["kinds"].Updates.Load(); n < 30 {
		t.Errorf("%d updates were counted", n)
	}
	r.script(t, `UPDATE kinds SET t = t || '"', c = 'a', ps = ps || ps, n = n + 1, bx = NULL`, `DELETE FROM kinds WHERE id % 3 = 0`, `INSERT INTO kinds (t) SELECT '' FROM generate_series(1, 30)`)
}

// A row that the target does not have must be noticed however the changes are sent.
func TestAMissingRowIsNoticed(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"one update":   `UPDATE a SET v = 1 WHERE id = 7`,
		"many updates": `UPDATE a SET v = 1`,
		"one delete":   `DELETE FROM a WHERE id = 7`,
		"many deletes": `DELETE FROM a`,
		"replaced":     `BEGIN; DELETE FROM a; INSERT INTO a SELECT generate_series(1, 50); COMMIT`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoute(t, `CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a SELECT generate_series(1, 50)`)
			r.exec(t, r.target, `DELETE FROM a WHERE id = 7`)
			before := lines(t, r.target, `SELECT a::text FROM public.a ORDER BY id`)
			r.exec(t, r.source, sql)
			a := r.run(t)
			if _, err := r.capture.Beat(t.Context()); err != nil {
				t.Fatal(err)
			}
			var mismatch *stream.MismatchError
			if err := <-a.result; !errors.As(err, &mismatch) || mismatch.Table != "public.a" || mismatch.Rows != 0 {
				t.Errorf("the apply ended with %v", err)
			}
			if after := lines(t, r.target, `SELECT a::text FROM public.a ORDER BY id`); after != before {
				t.Errorf("the target was changed:\n%s", after)
			}
		})
	}
}

func TestWhatTheTargetRefusesIsNamed(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"one insert":   `INSERT INTO a VALUES (7, 1)`,
		"many inserts": `INSERT INTO a SELECT generate_series(1, 50)`,
		"check":        `INSERT INTO a SELECT generate_series(100, 150), -1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRouteOf(t, `CREATE TABLE a (id int PRIMARY KEY, v int)`, `CREATE TABLE a (id int PRIMARY KEY, v int CHECK (v > 0)); INSERT INTO a VALUES (7)`)
			r.exec(t, r.source, sql)
			var refused *stream.RefusedError
			if err := <-r.run(t).result; !errors.As(err, &refused) || refused.Table != "public.a" || refused.Operation != "INSERT" {
				t.Errorf("the apply ended with %v", err)
			}
		})
	}
}
