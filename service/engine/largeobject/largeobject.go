// Package largeobject carries large objects (PostgreSQL manual, chapter 33) to the target, where they keep their oids: the
// tables refer to them by those. Logical decoding does not show them, so that both sides are read and compared. What is ours
// on the target is in the ledger; no other large object there is ever changed.
package largeobject

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// Sides are the two databases. It is safe for concurrent use.
type Sides struct {
	Source, Target database.Dial
	// CheckEpoch fails, within a transaction on the target, if another worker has taken over.
	CheckEpoch func(context.Context, pgx.Tx) error
	// Workers is how many ranges of objects are worked on at once.
	Workers int
}

// TakenError says that large objects of the target, which are not this migration's, have the oids of some of the source's.
type TakenError struct{ OIDs []uint32 }

func (e *TakenError) Error() string {
	return "the target holds large objects of its own with the numbers of the source's: " + Names(e.OIDs, int64(len(e.OIDs)))
}

// namesShown bounds the list in a message.
const namesShown = 10

// Names lists oids for people, ten at most; count is how many there are in all.
func Names(oids []uint32, count int64) string {
	var names []string
	for _, oid := range oids[:min(len(oids), namesShown)] {
		names = append(names, fmt.Sprint(oid))
	}
	if more := count - int64(len(names)); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

const existSQL = `SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)`

const carriedSQL = `SELECT EXISTS (SELECT FROM _pgmig.large_objects)`

// Exist says whether there is anything to do: large objects on the source, or some that were carried to the target already.
func Exist(ctx context.Context, source, target *pgx.Conn) (exist bool, err error) {
	if err := source.QueryRow(ctx, existSQL).Scan(&exist); err != nil {
		return false, fmt.Errorf("looking for large objects on the source: %w", err)
	}
	if exist {
		return true, nil
	}
	if err := target.QueryRow(ctx, carriedSQL).Scan(&exist); err != nil {
		return false, fmt.Errorf("looking for large objects in the ledger: %w", err)
	}
	return exist, nil
}

// span is a range of oids. Together the spans cover all oids, so that objects that are created meanwhile belong to one, too.
type span struct{ after, to uint32 }

const (
	// objectsPerSpan bounds what is in memory of a span, and the locks of a transaction on its objects.
	objectsPerSpan = 500

	bordersSQL = `
SELECT object
FROM (
    SELECT oid AS object, pg_catalog.row_number() OVER (ORDER BY oid) AS number
    FROM pg_catalog.pg_largeobject_metadata
) AS o
WHERE number % $1::bigint = 0
ORDER BY object`
)

func spans(ctx context.Context, conn *pgx.Conn) ([]span, error) {
	rows, err := conn.Query(ctx, bordersSQL, objectsPerSpan)
	if err != nil {
		return nil, fmt.Errorf("listing the large objects: %w", err)
	}
	borders, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, fmt.Errorf("listing the large objects: %w", err)
	}
	var all []span
	after := uint32(0)
	for _, to := range append(borders, ^uint32(0)) {
		all = append(all, span{after, to})
		after = to
	}
	return all, nil
}

// each calls do for every span, several at once, each with a session on either side.
func (s Sides) each(ctx context.Context, do func(ctx context.Context, source, target *pgx.Conn, part span) error) error {
	first, err := s.Source(ctx)
	if err != nil {
		return err
	}
	all, err := spans(ctx, first)
	_ = first.Close(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	queue := make(chan span, len(all))
	for _, part := range all {
		queue <- part
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	for range max(min(s.Workers, len(all)), 1) {
		group.Go(func() error {
			source, err := s.Source(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = source.Close(context.WithoutCancel(ctx)) }()
			target, err := s.Target(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = target.Close(context.WithoutCancel(ctx)) }()
			for part := range queue {
				if err := do(ctx, source, target, part); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// object is one large object: its size in bytes and a hash of its content.
type object struct {
	oid  uint32
	size int64
	hash string
}

// chunk is how many bytes of an object are in memory at once, here and on the servers. The statements have it, too.
const chunk = 1 << 20

// The hash is that of the hashes of all chunks: the servers cannot hash more than they can hold. 262144 opens for reading,
// and 2 seeks the end. The subquery that chooses the objects is not flattened (OFFSET 0), so that no other is opened.
const (
	contentsSQL = `
SELECT o.object, s.size, (
    SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.md5(pg_catalog.lo_get(o.object, c * 1048576, 1048576)), '' ORDER BY c))
    FROM pg_catalog.generate_series(0::bigint, (s.size - 1) / 1048576) AS c)
FROM ({objects} OFFSET 0) AS o,
     LATERAL (SELECT pg_catalog.lo_lseek64(pg_catalog.lo_open(o.object, 262144), 0, 2) AS size) AS s
ORDER BY o.object`

	sourceObjectsSQL = `
    SELECT m.oid AS object
    FROM pg_catalog.pg_largeobject_metadata AS m
    WHERE m.oid > $1::oid AND m.oid <= $2::oid`

	carriedObjectsSQL = `
    SELECT m.oid AS object
    FROM pg_catalog.pg_largeobject_metadata AS m
    JOIN _pgmig.large_objects AS l ON l.object = m.oid
    WHERE m.oid > $1::oid AND m.oid <= $2::oid`

	takenSQL = `
SELECT m.oid
FROM pg_catalog.pg_largeobject_metadata AS m
WHERE m.oid > $1::oid AND m.oid <= $2::oid
  AND NOT EXISTS (SELECT FROM _pgmig.large_objects AS l WHERE l.object = m.oid)`
)

// querier is a session or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// read gives the objects of a span that objects selects, in the order of their oids.
func read(ctx context.Context, q querier, objects string, part span) ([]object, error) {
	rows, err := q.Query(ctx, strings.Replace(contentsSQL, "{objects}", objects, 1), part.after, part.to)
	if err != nil {
		return nil, fmt.Errorf("reading large objects: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o object, err error) {
		err = row.Scan(&o.oid, &o.size, &o.hash)
		return o, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading large objects: %w", err)
	}
	return found, nil
}

// readBoth reads both sides of a span at once: the objects of the source, and those that were carried to the target.
func readBoth(ctx context.Context, source, target querier, part span) (there, carried []object, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		there, err = read(ctx, source, sourceObjectsSQL, part)
		return err
	})
	group.Go(func() (err error) {
		carried, err = read(ctx, target, carriedObjectsSQL, part)
		return err
	})
	return there, carried, group.Wait()
}
