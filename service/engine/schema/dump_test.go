package schema

import (
	"strings"
	"testing"
)

func TestSplitFollowsTheOrderOfTheArchive(t *testing.T) {
	header := func(id, name, kind string) string {
		return "--\n-- TOC entry " + id + " (class 1255 OID 1)\n-- Dependencies: 1 2\n-- Name: " + name + "; Type: " + kind + "; Schema: public; Owner: -\n-- Data Pos: 0\n--\n"
	}
	// The body of the function holds what looks like the header of an entry.
	script := "SET row_security = off;\n\n" +
		header("10", "f()", "FUNCTION") + "\nCREATE FUNCTION public.f() AS $$\n" + header("99", "evil", "TABLE") + "$$;\n\n\n" +
		header("11", "a\nb t", "INDEX") + "\nCREATE INDEX x ON y (z);\n\n\n-- Completed on 2026-01-01\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n"
	entries, err := split(script, []string{"10", "11"})
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Fatalf("%d entries, want 2: %v", len(entries), entries)
	}
	if want := "CREATE FUNCTION public.f() AS $$\n" + header("99", "evil", "TABLE") + "$$;"; entries[0].Statements != want {
		t.Errorf("statements of the function: %q, want %q", entries[0].Statements, want)
	}
	if entries[1].Kind != "INDEX" || entries[1].Name != "a\nb t" || entries[1].Statements != "CREATE INDEX x ON y (z);" {
		t.Errorf("second entry: %+v", entries[1])
	}
	if _, err := split(script, []string{"10", "12"}); err == nil || !strings.Contains(err.Error(), "12") {
		t.Errorf("a missing entry gives %v", err)
	}
}

func TestKeepWanted(t *testing.T) {
	list := `; head
7; 2615 16384 SCHEMA - s2 app
8; 2615 16385 SCHEMA - my schema app
2; 3079 16421 EXTENSION - hstore 
3; 3079 16422 EXTENSION - citext 
3608; 0 0 COMMENT - EXTENSION hstore 
9; 3466 16500 EVENT TRIGGER - guard postgres
221; 1259 16385 TABLE public SCHEMA - s2 app
3700; 0 0 COMMENT - SCHEMA my schema app
3701; 0 0 COMMENT - SCHEMA s2 app
`
	want := `; head
7; 2615 16384 SCHEMA - s2 app
;8; 2615 16385 SCHEMA - my schema app
;2; 3079 16421 EXTENSION - hstore 
3; 3079 16422 EXTENSION - citext 
;3608; 0 0 COMMENT - EXTENSION hstore 
;9; 3466 16500 EVENT TRIGGER - guard postgres
221; 1259 16385 TABLE public SCHEMA - s2 app
;3700; 0 0 COMMENT - SCHEMA my schema app
3701; 0 0 COMMENT - SCHEMA s2 app
`
	if got := keepWanted(list, map[string]bool{"SCHEMA my schema": true, "EXTENSION hstore": true}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStatementsAreCutOutsideOfNames(t *testing.T) {
	const script = "DROP TABLE IF EXISTS s.a;\n" + `DROP TABLE IF EXISTS "we""ird; 'x".b;` + "\nCREATE OR REPLACE VIEW v AS SELECT ';\"' AS a;\nDROP SCHEMA s"
	got := statements(script)
	if len(got) != 4 || strings.Join(got, "") != script || !strings.HasSuffix(got[1], ".b;") || !strings.HasSuffix(got[2], "AS a;") {
		t.Errorf("%q", got)
	}
}
