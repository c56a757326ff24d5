package schema

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Difference is what is different in the entries of a later dump, in the order of that dump; what was removed is in the
// opposite order of the earlier one.
type Difference struct {
	Added, Changed, Removed []Entry
}

// Empty tells whether there is no difference.
func (d Difference) Empty() bool { return len(d.Added)+len(d.Changed)+len(d.Removed) == 0 }

// Compare compares the entries of two dumps. An entry is known by its kind, schema and name.
func Compare(earlier, later []Entry) Difference {
	type key struct{ kind, schema, name string }
	known := map[key][]string{} // the statements, of which there may be several under one name
	for _, e := range earlier {
		k := key{e.Kind, e.Schema, e.Name}
		known[k] = append(known[k], e.Statements)
	}
	take := func(k key, matches func(string) bool) bool {
		for i, statements := range known[k] {
			if matches(statements) {
				known[k] = append(known[k][:i:i], known[k][i+1:]...)
				return true
			}
		}
		return false
	}
	var d Difference
	var others []Entry
	for _, e := range later {
		if !take(key{e.Kind, e.Schema, e.Name}, func(s string) bool { return s == e.Statements }) {
			others = append(others, e)
		}
	}
	for _, e := range others {
		if take(key{e.Kind, e.Schema, e.Name}, func(string) bool { return true }) {
			d.Changed = append(d.Changed, e)
		} else {
			d.Added = append(d.Added, e)
		}
	}
	for i := len(earlier) - 1; i >= 0; i-- {
		e := earlier[i]
		if take(key{e.Kind, e.Schema, e.Name}, func(s string) bool { return s == e.Statements }) {
			d.Removed = append(d.Removed, e)
		}
	}
	return d
}

// Replacing gives the statements that put e in the place of the object of its name, or nothing if there are none for its kind.
func (e Entry) Replacing() string {
	switch e.Kind {
	case "FUNCTION", "PROCEDURE", "VIEW":
		if rest, is := strings.CutPrefix(e.Statements, "CREATE "+e.Kind+" "); is {
			return "CREATE OR REPLACE " + e.Kind + " " + rest
		}
		return ""
	case "COMMENT":
		return e.Statements
	default:
		return ""
	}
}

// Drop gives the statement that removes the object, or nothing if its name as pg_dump writes it does not tell.
func (e Entry) Drop() string {
	switch e.Kind {
	case "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "INDEX", "STATISTICS":
		return "DROP " + e.Kind + " IF EXISTS " + pgx.Identifier{e.Schema, e.Name}.Sanitize()
	case "COMMENT":
		if m := commentOn.FindStringSubmatch(e.Statements); m != nil {
			return m[1] + " IS NULL"
		}
		return ""
	default:
		return ""
	}
}

// commentOn matches the object of a comment: COMMENT ON … IS 'text'.
var commentOn = regexp.MustCompile(`^(COMMENT ON (?s:.*?)) IS '`)
