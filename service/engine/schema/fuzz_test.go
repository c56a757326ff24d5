package schema

import (
	"strings"
	"testing"
)

// FuzzSplit cuts any script that pg_restore could write. No statement of an entry may be lost or come twice.
func FuzzSplit(f *testing.F) {
	const entry = "--\n-- TOC entry 215 (class 1259 OID 16385)\n-- Dependencies: 3 4\n-- Name: orders; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE public.orders (id int);\n\n\n"
	const function = "--\n-- TOC entry 216 (class 1255 OID 16386)\n-- Name: f(); Type: FUNCTION; Schema: public; Owner: -; Tablespace: x\n--\n\nCREATE FUNCTION public.f() …;\n\n-- Completed on 2026-11-21\n"
	f.Add(entry+function, "215 216")
	f.Add(entry+entry, "215 215")
	f.Add(function, "216")
	f.Fuzz(func(t *testing.T, script, list string) {
		ids := strings.Fields(list)
		entries, err := split(script, ids)
		if err != nil {
			return
		}
		if len(entries) != len(ids) {
			t.Fatalf("%d entries for %d numbers", len(entries), len(ids))
		}
		rest := script
		for _, e := range entries {
			_, after, found := strings.Cut(rest, e.Statements)
			if !found {
				t.Fatalf("%q is not where it was", e.Statements)
			}
			rest = after
			_, _ = e.Drop(), e.Replacing()
		}
	})
}

// FuzzList comments lines out of a list and changes nothing else.
func FuzzList(f *testing.F) {
	f.Add(";\n; Archive\n215; 1259 16385 TABLE public orders app\n3; 2615 2200 SCHEMA - sales app\n2; 3079 16390 EXTENSION - hstore \n", "SCHEMA sales")
	f.Fuzz(func(t *testing.T, list, existing string) {
		kept := keepWanted(list, map[string]bool{existing: true})
		if strings.ReplaceAll(kept, ";", "") != strings.ReplaceAll(list, ";", "") {
			t.Fatalf("%q became %q", list, kept)
		}
	})
}
