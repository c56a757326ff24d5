package catalog

import (
	"context"
	_ "embed" // for the query
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Fingerprint is the schema as a map from object ("table public.orders") to a value that changes when its definition does.
type Fingerprint map[string]string

//go:embed fingerprint.sql
var fingerprintSQL string

// ReadFingerprint reads the fingerprint of a database, without what is ours.
func ReadFingerprint(ctx context.Context, q Querier) (Fingerprint, error) {
	rows, err := q.Query(ctx, fingerprintSQL)
	if err != nil {
		return nil, fmt.Errorf("reading the fingerprint of the schema: %w", err)
	}
	values := map[string][]string{}
	var kind, name, value string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &value}, func() error {
		object := kind + " " + name
		values[object] = append(values[object], value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the fingerprint of the schema: %w", err)
	}
	fingerprint := make(Fingerprint, len(values))
	for object, all := range values {
		slices.Sort(all) // "a.b".c and a."b.c" are told by one name, in any order
		fingerprint[object] = strings.Join(all, "\n")
	}
	return fingerprint, nil
}

// Change is one difference between two fingerprints.
type Change struct {
	Object   string // "table public.orders"
	Old, New string // the values; Old is empty for what was added, New for what was removed
}

// String names the change: "table public.orders was added".
func (c Change) String() string {
	switch {
	case c.Old == "":
		return c.Object + " was added"
	case c.New == "":
		return c.Object + " was removed"
	default:
		return c.Object + " was changed"
	}
}

// Harmless tells whether rows go on being replicated as they are, so that the change can be brought over later: it is one of
// code, of a view, of an index that is no key, of a foreign key, or a sequence that no column uses.
func (c Change) Harmless() bool {
	kind, _, _ := strings.Cut(c.Object, " ")
	switch kind {
	case "function", "view", "materialized", "trigger", "sequence":
		return true
	case "index":
		return !strings.Contains(c.Old, "CREATE UNIQUE ") && !strings.Contains(c.New, "CREATE UNIQUE ")
	case "constraint":
		return isForeignKey(c.Old) && isForeignKey(c.New)
	default:
		return false
	}
}

// isForeignKey tells whether a constraint, which is not there if its definition is empty, is a foreign key, and so are those
// that look the same.
func isForeignKey(definition string) bool {
	for line := range strings.Lines(definition) {
		if !strings.HasPrefix(line, "FOREIGN KEY ") {
			return false
		}
	}
	return true
}

// Changes gives what is different in the later fingerprint, sorted by object.
func (f Fingerprint) Changes(later Fingerprint) []Change {
	var changes []Change
	for object, value := range later {
		if old := f[object]; old != value {
			changes = append(changes, Change{object, old, value})
		}
	}
	for object, value := range f {
		if _, known := later[object]; !known {
			changes = append(changes, Change{object, value, ""})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Object, b.Object) })
	return changes
}
