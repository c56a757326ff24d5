package schema

import (
	"slices"
	"strings"
	"testing"
)

func TestOptionsThatOnlyOneServerKnowsAreLeft(t *testing.T) {
	t.Parallel()
	const table = `CREATE TABLE public."a;b" (
    id integer DEFAULT 1, -- ALTER TABLE ONLY x ALTER COLUMN y SET (pg_attver=1);
    v text DEFAULT 'ALTER TABLE ONLY x ALTER COLUMN y SET (pg_attver=1);
ALTER TABLE ONLY x ALTER COLUMN y SET (pg_attver=1);',
    w text DEFAULT E'it\'s; ALTER TABLE ONLY x ALTER COLUMN y SET (pg_attver=1);'
);`
	for _, test := range []struct {
		kind, statements, want string
		left                   []string
	}{
		{"TABLE", table, table, nil},
		{
			"TABLE", table + "\nALTER TABLE ONLY public.\"a;b\" ALTER COLUMN id SET (pg_attver=635182112);\nALTER TABLE ONLY public.\"a;b\" ALTER COLUMN v SET STORAGE PLAIN;",
			table + "\nALTER TABLE ONLY public.\"a;b\" ALTER COLUMN v SET STORAGE PLAIN;",
			[]string{"pg_attver"},
		},
		{
			"TABLE", "ALTER TABLE ONLY public.a ALTER COLUMN id SET (n_distinct=5, pg_attver=1, n_distinct_inherited=7, other='x');",
			"ALTER TABLE ONLY public.a ALTER COLUMN id SET (n_distinct=5, n_distinct_inherited=7);",
			[]string{"pg_attver", "other"},
		},
		{
			"MATERIALIZED VIEW", "ALTER MATERIALIZED VIEW public.\" SET (x=1); \" ALTER COLUMN \"it's\" SET (pg_attver=1);", "", []string{"pg_attver"},
		},
		{
			"FUNCTION", "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END;\nALTER TABLE ONLY a ALTER COLUMN b SET (pg_attver=1);",
			"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END;\nALTER TABLE ONLY a ALTER COLUMN b SET (pg_attver=1);", nil,
		},
		{"TABLE", "SELECT $$; ALTER TABLE ONLY a ALTER COLUMN b SET (pg_attver=1);$$, $x$;$$;$x$, $1;", "SELECT $$; ALTER TABLE ONLY a ALTER COLUMN b SET (pg_attver=1);$$, $x$;$$;$x$, $1;", nil},
		{"TABLE", "ALTER TABLE a SET (fillfactor=70);", "ALTER TABLE a SET (fillfactor=70);", nil},
	} {
		e := Entry{Kind: test.kind, Statements: test.statements}
		left := leaveOptions(&e)
		if !slices.Equal(left, test.left) || e.Statements != test.want {
			t.Errorf("%s\nbecomes\n%s\nwithout %v", test.statements, e.Statements, left)
		}
		if whole := strings.Join(cut(test.statements), ""); whole != test.statements {
			t.Errorf("what was cut is\n%s\nand was\n%s", whole, test.statements)
		}
	}
}
