package preflight

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed checks/*.sql
var files embed.FS

// userTables is what the checks mean by the tables of the user. PostgreSQL 10 and 11 do not count
// the column oid among those of "*".
const userTables = `(
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relreplident, c.relowner, c.relacl, c.reltablespace, c.relam, c.relpages, n.nspname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
        AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)`

// usableKeys are the indexes that a row can be found by, in the same words as service/engine/catalog
// chooses them: unique, immediate, whole, on plain columns that are NOT NULL and not generated.
const usableKeys = `(
    SELECT i.indrelid
    FROM pg_index i
    WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
        AND cardinality(i.indkey::int2[]) = coalesce((to_jsonb(i) ->> 'indnkeyatts')::int, cardinality(i.indkey::int2[]))
        AND NOT EXISTS (
            SELECT 1 FROM pg_attribute a
            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
                AND (NOT a.attnotnull OR coalesce(to_jsonb(a) ->> 'attgenerated', '') <> ''))
)`

// userObjects are the relations, functions and types of the user that a schema dump would create.
// Sequences that belong to a column, and the row types of tables, come with their table.
const userObjects = `(
    SELECT c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
        AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (
            SELECT 1 FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND (d.deptype = 'e' OR c.relkind = 'S' AND d.deptype IN ('a', 'i')))
    UNION ALL
    SELECT p.oid::regprocedure::text
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (
            SELECT 1 FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
    UNION ALL
    SELECT t.oid::regtype::text
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE (t.typtype IN ('e', 'd', 'r')
            OR t.typtype = 'c' AND EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
        AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
)`

// check is one check: what it is about, and the SQL that makes it unless that takes more than SQL.
type check struct {
	id       string
	side     Side
	severity Severity
	since    int // the first major version that it can be made on
	text     string
	hint     string
	sql      string
	// onlyLogical says that the check matters to logical decoding alone, leavesOffline that what it finds leaves no other
	// method than the offline one.
	onlyLogical, leavesOffline bool
}

// catalog holds all checks by their id.
type catalog map[string]check

// loadCatalog reads the checks that are SQL and adds those that are not.
func loadCatalog() (catalog, error) {
	all := catalog{}
	for _, c := range inGo() {
		all[c.id] = c
	}
	entries, err := fs.ReadDir(files, "checks")
	if err != nil {
		return nil, fmt.Errorf("listing the checks: %w", err)
	}
	for _, entry := range entries {
		text, err := fs.ReadFile(files, "checks/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("reading a check: %w", err)
		}
		c, err := parseCheck(string(text))
		if err != nil {
			return nil, fmt.Errorf("reading check %s: %w", entry.Name(), err)
		}
		if !strings.HasPrefix(entry.Name(), c.id+"_") {
			return nil, fmt.Errorf("check %s has the id %s", entry.Name(), c.id)
		}
		if _, found := all[c.id]; found {
			return nil, fmt.Errorf("there are two checks %s", c.id)
		}
		all[c.id] = c
	}
	return all, nil
}

// parseCheck reads the header of a check's file and fills in the fragments of its statement.
func parseCheck(text string) (check, error) {
	header := map[string]string{}
	rest := text
	for strings.HasPrefix(rest, "-- ") {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		key, value, found := strings.Cut(strings.TrimPrefix(line, "-- "), ": ")
		if !found {
			return check{}, fmt.Errorf("header line %q has no value", line)
		}
		header[key] = strings.TrimSpace(value)
	}
	for _, key := range []string{"id", "side", "severity", "since", "text", "hint"} {
		if header[key] == "" {
			return check{}, fmt.Errorf("%s is missing", key)
		}
	}
	since, err := strconv.Atoi(header["since"])
	if err != nil {
		return check{}, fmt.Errorf("reading the version in since: %w", err)
	}
	c := check{
		id: header["id"], side: Side(header["side"]), severity: Severity(header["severity"]),
		since: since, text: header["text"], hint: header["hint"],
		sql: strings.NewReplacer("{{user_tables}}", userTables, "{{usable_keys}}", usableKeys, "{{user_objects}}", userObjects).Replace(strings.TrimSpace(rest)),
	}
	if method, found := header["only"]; found {
		if method != "logical" {
			return check{}, fmt.Errorf("unknown method %q", method)
		}
		c.onlyLogical = true
	}
	if method, found := header["leaves"]; found {
		if method != "offline" {
			return check{}, fmt.Errorf("unknown method %q", method)
		}
		c.leavesOffline = true
	}
	switch {
	case c.side != Source && c.side != Target:
		return check{}, fmt.Errorf("unknown side %q", c.side)
	case c.severity != Critical && c.severity != Warning:
		return check{}, fmt.Errorf("unknown severity %q", c.severity)
	case c.sql == "":
		return check{}, fmt.Errorf("the statement is missing")
	}
	return c, nil
}

// of gives the SQL checks of one side in their order.
func (all catalog) of(side Side) []check {
	var checks []check
	for _, c := range all {
		if c.side == side && c.sql != "" {
			checks = append(checks, c)
		}
	}
	slices.SortFunc(checks, func(a, b check) int { return strings.Compare(a.id, b.id) })
	return checks
}

// result is what a check has found.
type result struct {
	count  int64
	names  []string
	values map[string]string // of the placeholders in the text
}

const namesShown = 10

// finding says what a check has found in words.
func (c check) finding(r result) Finding {
	f := Finding{
		ID: c.id, Side: c.side, Severity: c.severity,
		Text: fill(c.text, r), Count: r.count, Names: r.names, Hint: c.hint,
	}
	if len(f.Names) > namesShown {
		f.Names = f.Names[:namesShown]
	}
	if len(f.Names) == 0 && !strings.Contains(c.text, "{count") {
		f.Count = 0 // it is no objects that were counted
	}
	return f
}

// failed says that a check could not be made.
func (c check) failed(reason string) Finding {
	return Finding{
		ID: c.id, Side: c.side, Severity: Warning,
		Text: fmt.Sprintf("Check %s could not be made (%s)", c.id, reason),
	}
}

// fill replaces the placeholders of a text: {count}, {count:table}, {count:index|indexes}, and
// those of the result's values.
func fill(text string, r result) string {
	placeholder := regexp.MustCompile(`\{([a-z]+)(?::([a-z ]+)(?:\|([a-z ]+))?)?\}`)
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		parts := placeholder.FindStringSubmatch(found)
		name, one, many := parts[1], parts[2], parts[3]
		if name != "count" {
			return r.values[name]
		}
		count := strconv.FormatInt(r.count, 10)
		switch {
		case one == "":
			return count
		case r.count == 1:
			return count + " " + one
		case many == "":
			return count + " " + one + "s"
		default:
			return count + " " + many
		}
	})
}
