package snapshot

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// Part is what one COPY carries: a whole table or a range of its rows.
type Part struct {
	Table catalog.Table
	where string // empty: the whole table
}

// Whole tells whether the part is the whole table.
func (p Part) Whole() bool { return p.where == "" }

// Split cuts a table into parts of about size bytes each; a small one stays whole, as does one that has no cheap way to read
// a range of it. Every row that the snapshot shows is in exactly one part. source has imported the snapshot.
//
// A range of pages can be read from 14 on (TID range scan); before, each part would read the whole table, so that ranges of
// an integer key are taken there.
func Split(ctx context.Context, source *pgx.Conn, t catalog.Table, size int64) ([]Part, error) {
	whole := []Part{{Table: t}}
	if size <= 0 || t.Bytes < 2*size {
		return whole, nil
	}
	var bounds []string
	var by string
	var err error
	if catalog.Major(source) >= 14 {
		by = pageColumn
		bounds, err = pageBounds(ctx, source, t, size)
	} else if by = integerKey(t); by != "" {
		bounds, err = keyBounds(ctx, source, t, by, size)
	}
	if err != nil {
		return nil, fmt.Errorf("dividing table %s: %w", t, err)
	}
	if len(bounds) == 0 {
		return whole, nil
	}
	return ranges(t, by, bounds), nil
}

// ranges makes the parts that begin at the bounds, and the one before the first.
func ranges(t catalog.Table, by string, bounds []string) []Part {
	parts := make([]Part, 0, len(bounds)+1)
	for i, bound := range bounds {
		where := by + " < " + bound
		if i > 0 {
			where = by + " >= " + bounds[i-1] + " AND " + where
		}
		parts = append(parts, Part{t, where})
	}
	// The last part is open to the end: pages are added while the snapshot stands.
	last := by + " >= " + bounds[len(bounds)-1]
	if by != pageColumn {
		last += " OR " + by + " IS NULL"
	}
	return append(parts, Part{t, last})
}

// pageColumn is the system column by which pages are named.
const pageColumn = "ctid"

const pagesSQL = `
SELECT
    pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint,
    am.amname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_am AS am ON am.oid = c.relam
WHERE c.oid = $1`

// pageBounds gives where the parts after the first begin. Only heap tables have pages that a TID names.
func pageBounds(ctx context.Context, source *pgx.Conn, t catalog.Table, size int64) ([]string, error) {
	var pages int64
	var method string
	if err := source.QueryRow(ctx, pagesSQL, t.OID).Scan(&pages, &method); err != nil {
		return nil, err
	}
	if method != "heap" {
		return nil, nil
	}
	var bounds []string
	parts := t.Bytes / size // by the size with TOAST: that is what has to be carried
	for i := int64(1); i < parts && parts <= pages; i++ {
		bounds = append(bounds, fmt.Sprintf("'(%d,0)'::pg_catalog.tid", i*pages/parts))
	}
	return bounds, nil
}

// integerKey gives the quoted name of the column that is alone the key, if it is a number; else nothing.
func integerKey(t catalog.Table) string {
	if len(t.Key) != 1 {
		return ""
	}
	integers := []uint32{20, 21, 23} // bigint, smallint, integer
	for _, c := range t.Columns {
		if c.Name == t.Key[0] && slices.Contains(integers, c.TypeOID) {
			return pgx.Identifier{c.Name}.Sanitize()
		}
	}
	return ""
}

// keyBounds divides the range of the keys evenly, which may be far from even parts where keys are.
func keyBounds(ctx context.Context, source *pgx.Conn, t catalog.Table, key string, size int64) ([]string, error) {
	var least, greatest *int64
	sql := "SELECT pg_catalog.min(" + key + ")::bigint, pg_catalog.max(" + key + ")::bigint FROM ONLY " + t.SQLName()
	if err := source.QueryRow(ctx, sql).Scan(&least, &greatest); err != nil {
		return nil, err
	}
	if least == nil {
		return nil, nil
	}
	parts := t.Bytes / size
	width := uint64(*greatest-*least) / uint64(parts) // the difference may wrap, to the right result
	if width == 0 {
		return nil, nil
	}
	var bounds []string
	for i := uint64(1); i < uint64(parts); i++ {
		bounds = append(bounds, fmt.Sprintf("(%d)::bigint", *least+int64(i*width)))
	}
	return bounds, nil
}
