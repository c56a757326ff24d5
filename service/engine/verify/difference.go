package verify

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// Bounds of what is said about a difference, and of what is read to find it.
const (
	namedKeys  = 10
	keyLength  = 100 // characters; a key is the user's data, of which no more than needed may be shown
	bucketRows = 256 // rows that a bucket holds on average, as far as maxBuckets allows
	maxBuckets = 1 << 16
)

// Difference names rows by which a table differs, by their keys as text. All lists together hold 10 at most; More says that
// there are others. All are empty when the table has no key.
type Difference struct {
	Changed []string // on both sides, with different content
	Missing []string // on the source only
	Surplus []string // on the target only
	More    bool
}

// String describes the difference for people.
func (d *Difference) String() string {
	var parts []string
	for _, group := range []struct {
		what string
		keys []string
	}{{"different", d.Changed}, {"only on the source", d.Missing}, {"only on the target", d.Surplus}} {
		if len(group.keys) > 0 {
			parts = append(parts, group.what+": "+strings.Join(group.keys, ", "))
		}
	}
	if d.More {
		parts = append(parts, "and more")
	}
	return strings.Join(parts, "; ")
}

// A bucket holds the rows whose key's hash ends in the same bits. Ranges of the key would not do: the two sides may sort
// text differently. So two passes over the table find any number of rows, whatever the type of the key.
const (
	bucketsSQL = `
SELECT k & $1::bigint AS bucket, pg_catalog.count(*), pg_catalog.sum(h::numeric)::text
FROM (SELECT {key_hash} AS k, {row_hash} AS h FROM ONLY {table} AS t) AS hashes
GROUP BY bucket`

	bucketRowsSQL = `
SELECT k, pg_catalog."left"(name, $3::int), h
FROM (SELECT {key_hash} AS k, {key} AS name, {row_hash} AS h FROM ONLY {table} AS t) AS hashes
WHERE k & $1::bigint = ANY ($2::bigint[])`
)

// difference finds the rows by which t differs, rows of them on the larger side. Both sessions see what the verification saw.
func (s Sides) difference(ctx context.Context, source, target *pgx.Conn, t catalog.Table, rows int64) (*Difference, error) {
	if len(t.Key) == 0 {
		return &Difference{}, nil
	}
	mask := int64(1)<<bits.Len64(uint64(min(rows/bucketRows, maxBuckets-1))) - 1
	left, right, err := onBoth(ctx, source, target, func(ctx context.Context, conn *pgx.Conn) (map[int64]Content, error) {
		return s.buckets(ctx, conn, t, mask)
	})
	if err != nil {
		return nil, err
	}
	var different []int64
	for bucket, content := range left {
		if right[bucket] != content {
			different = append(different, bucket)
		}
	}
	for bucket := range right {
		if _, both := left[bucket]; !both {
			different = append(different, bucket)
		}
	}
	slices.Sort(different)
	named := different[:min(len(different), namedKeys)] // each has one key at least
	sourceRows, targetRows, err := onBoth(ctx, source, target, func(ctx context.Context, conn *pgx.Conn) (map[int64]row, error) {
		return s.rows(ctx, conn, t, mask, named)
	})
	if err != nil {
		return nil, err
	}
	d := compareRows(sourceRows, targetRows)
	d.More = d.More || len(named) < len(different)
	return d, nil
}

// row is one row, known by its key's hash.
type row struct {
	name string // the key for people
	hash int64
}

func compareRows(source, target map[int64]row) *Difference {
	d := &Difference{}
	named := 0
	add := func(list *[]string, name string) {
		if named++; named > namedKeys {
			d.More = true
			return
		}
		*list = append(*list, name)
	}
	for _, key := range inOrder(source) {
		if there, both := target[key]; !both {
			add(&d.Missing, source[key].name)
		} else if there.hash != source[key].hash {
			add(&d.Changed, source[key].name)
		}
	}
	for _, key := range inOrder(target) {
		if _, both := source[key]; !both {
			add(&d.Surplus, target[key].name)
		}
	}
	return d
}

// inOrder gives the hashes in the order of the keys' names, the shorter first, which is the order of numbers too.
func inOrder(rows map[int64]row) []int64 {
	return slices.SortedFunc(maps.Keys(rows), func(a, b int64) int {
		x, y := rows[a].name, rows[b].name
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	})
}

func (s Sides) buckets(ctx context.Context, conn *pgx.Conn, t catalog.Table, mask int64) (map[int64]Content, error) {
	rows, err := conn.Query(ctx, s.in(bucketsSQL, t), mask)
	if err != nil {
		return nil, fmt.Errorf("looking for the difference in table %s: %w", t, err)
	}
	contents := map[int64]Content{}
	var (
		bucket int64
		c      Content
	)
	if _, err := pgx.ForEachRow(rows, []any{&bucket, &c.Rows, &c.Hash}, func() error {
		contents[bucket] = c
		return nil
	}); err != nil {
		return nil, fmt.Errorf("looking for the difference in table %s: %w", t, err)
	}
	return contents, nil
}

func (s Sides) rows(ctx context.Context, conn *pgx.Conn, t catalog.Table, mask int64, buckets []int64) (map[int64]row, error) {
	rows, err := conn.Query(ctx, s.in(bucketRowsSQL, t), mask, buckets, keyLength+1)
	if err != nil {
		return nil, fmt.Errorf("looking for the different rows of table %s: %w", t, err)
	}
	found := map[int64]row{}
	var (
		key int64
		r   row
	)
	if _, err := pgx.ForEachRow(rows, []any{&key, &r.name, &r.hash}, func() error {
		r.name = shown(r.name)
		found[key] = r
		return nil
	}); err != nil {
		return nil, fmt.Errorf("looking for the different rows of table %s: %w", t, err)
	}
	return found, nil
}

// in fills in the identifiers and expressions of a statement.
func (s Sides) in(sql string, t catalog.Table) string {
	key := make([]string, len(t.Key))
	for i, name := range t.Key {
		key[i] = "t." + pgx.Identifier{name}.Sanitize()
	}
	text := "ROW(" + strings.Join(key, ", ") + ")::text"
	name := text
	if len(key) == 1 {
		name = key[0] + "::text"
	}
	return strings.NewReplacer(
		"{key_hash}", s.hash(text),
		"{key}", name,
		"{row_hash}", s.hash(rowText(t)),
		"{table}", t.SQLName(),
	).Replace(sql)
}

// shown cuts a key to what may be shown of it, and to one line.
func shown(key string) string {
	runes := []rune(key)
	if len(runes) > keyLength {
		runes = append(runes[:keyLength], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	return string(runes)
}

// onBoth reads from both sides at once.
func onBoth[T any](ctx context.Context, source, target *pgx.Conn, read func(context.Context, *pgx.Conn) (T, error)) (left, right T, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		left, err = read(ctx, source)
		return err
	})
	group.Go(func() (err error) {
		right, err = read(ctx, target)
		return err
	})
	err = group.Wait()
	return left, right, err
}
