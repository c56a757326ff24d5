package schema

import (
	"regexp"
	"slices"
	"strings"
)

// attributeOptions are the options of a column that PostgreSQL knows (manual, ALTER TABLE). Others belong to the server that
// the dump comes from, and another one refuses them.
var attributeOptions = []string{"n_distinct", "n_distinct_inherited"}

// A statement that pg_dump writes for the options of a column: ALTER TABLE ONLY public.a ALTER COLUMN b SET (n_distinct=5).
var setsOptions = regexp.MustCompile(`(?s)^\s*ALTER (?:TABLE|FOREIGN TABLE|MATERIALIZED VIEW) .* ALTER COLUMN .* SET \(([^()]*)\);$`)

// leaveOptions takes from an entry the options of columns that PostgreSQL does not know, and gives their names.
func leaveOptions(e *Entry) (left []string) {
	switch e.Kind {
	case "TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW":
	default: // has no columns of its own
		return nil
	}
	if !strings.Contains(e.Statements, " SET (") {
		return nil
	}
	var kept strings.Builder
	for _, statement := range cut(e.Statements) {
		m := setsOptions.FindStringSubmatchIndex(statement)
		if m == nil {
			kept.WriteString(statement)
			continue
		}
		var known []string
		for option := range strings.SplitSeq(statement[m[2]:m[3]], ", ") {
			name, _, _ := strings.Cut(option, "=")
			if slices.Contains(attributeOptions, name) {
				known = append(known, option)
			} else if !slices.Contains(left, name) {
				left = append(left, name)
			}
		}
		if len(known) > 0 {
			kept.WriteString(statement[:m[2]] + strings.Join(known, ", ") + statement[m[3]:])
		}
	}
	e.Statements = strings.TrimSpace(kept.String())
	return left
}

// What may hold a semicolon that ends no statement (manual, 4.1): strings, quoted names, dollar-quoted strings and comments.
var atoms = regexp.MustCompile(`^(?s:[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*)`)

var dollarTag = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][A-Za-z_0-9\x80-\xff]*)?\$`)

// cut cuts a script into statements, each with its semicolon and what stands before it. It is not for functions in standard SQL,
// whose bodies hold statements.
func cut(script string) []string {
	var statements []string
	begin := 0
	for i := 0; i < len(script); {
		rest := script[i:]
		if m := atoms.FindString(rest); m != "" {
			i += len(m)
			continue
		}
		if tag := dollarTag.FindString(rest); tag != "" {
			if end := strings.Index(rest[len(tag):], tag); end >= 0 {
				i += len(tag) + end + len(tag)
				continue
			}
		}
		i++
		if rest[0] == ';' {
			statements = append(statements, script[begin:i])
			begin = i
		}
	}
	return append(statements, script[begin:])
}
