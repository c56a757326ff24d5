package catalog

import (
	"context"
	_ "embed" // for the query
	"fmt"
	"maps"
	"slices"

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
	fingerprint := Fingerprint{}
	var kind, name, value string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &value}, func() error {
		fingerprint[kind+" "+name] = value
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the fingerprint of the schema: %w", err)
	}
	return fingerprint, nil
}

// Changes names what is different in the later fingerprint, sorted: "table public.a was added".
func (f Fingerprint) Changes(later Fingerprint) []string {
	var changes []string
	for object, value := range later {
		switch old, known := f[object]; {
		case !known:
			changes = append(changes, object+" was added")
		case old != value:
			changes = append(changes, object+" was changed")
		}
	}
	for object := range maps.Keys(f) {
		if _, known := later[object]; !known {
			changes = append(changes, object+" was removed")
		}
	}
	slices.Sort(changes)
	return changes
}
