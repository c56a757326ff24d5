// Package verify reads the whole content of tables on two sides, never only counts, and says whether it is equal.
package verify

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// Content is what a table holds, independent of the order of its rows.
type Content struct {
	Rows int64
	Hash string // decimal sum of a 64-bit hash of each row's text
}

// Sides says how to read the two sides, so that equal rows have equal text and equal hashes.
type Sides struct {
	SourceMajor, TargetMajor int
}

// Content reads the content of t on conn. The columns are named in the source's order, which the target's may not be.
// A sum alone does not see two equal changes that cancel each other, therefore the count; a 32-bit hash is too weak, and the
// hash functions of the rows' own types may change between versions, therefore the text.
func (s Sides) Content(ctx context.Context, conn *pgx.Conn, t catalog.Table) (c Content, err error) {
	if err := conn.QueryRow(ctx, s.sql(t)).Scan(&c.Rows, &c.Hash); err != nil {
		return Content{}, fmt.Errorf("reading the content of table %s: %w", t, err)
	}
	return c, nil
}

func (s Sides) sql(t catalog.Table) string {
	return "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum((" + s.hash(rowText(t)) + ")::numeric), 0)::text FROM ONLY " + t.SQLName() + " AS t"
}

// rowText is the SQL of a whole row's text.
func rowText(t catalog.Table) string {
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = "t." + pgx.Identifier{c.Name}.Sanitize()
	}
	return "ROW(" + strings.Join(columns, ", ") + ")::text"
}

// hash is the SQL of the 64-bit hash of a text, the same on both sides.
func (s Sides) hash(text string) string {
	if s.SourceMajor < 11 || s.TargetMajor < 11 { // hashtextextended is new in 11
		return "('x' || pg_catalog.substr(pg_catalog.md5(" + text + "), 1, 16))::bit(64)::bigint"
	}
	return "pg_catalog.hashtextextended(" + text + ", 0)"
}

// Prepare sets conn up for Content. Floating-point numbers have another text from 12 on, but for digits up to 15.
func (s Sides) Prepare(ctx context.Context, conn *pgx.Conn) error {
	if (s.SourceMajor < 12) == (s.TargetMajor < 12) {
		return nil
	}
	if _, err := conn.Exec(ctx, "SET extra_float_digits = 0"); err != nil {
		return fmt.Errorf("setting up a session for the verification: %w", err)
	}
	return nil
}

// Result is the verification of one table.
type Result struct {
	Table          catalog.Table
	Source, Target Content
	Difference     *Difference // nil when the sides are equal
	// Rewritten says that nothing was learnt: the table was truncated or rewritten after the snapshots, which hide no TRUNCATE.
	Rewritten bool
}

// Equal says that both sides hold the same rows.
func (r Result) Equal() bool { return r.Source == r.Target }

// Describe says how the sides differ, for people. Of the content it names keys only.
func (r Result) Describe() string {
	text := fmt.Sprintf("%s (%d rows on the source, %d on the target", r.Table, r.Source.Rows, r.Target.Rows)
	switch rows := r.Difference.String(); {
	case len(r.Table.Key) == 0:
		text += "; it has no key to name the different ones by"
	case rows != "":
		text += "; by key " + strings.Join(r.Table.Key, ", ") + ", " + rows
	}
	return text + ")"
}

// Verify reads tables on both sides, workers tables at once, and reports each, one after the other. The sides must stand
// still, or source and target must give sessions that see one snapshot each.
func (s Sides) Verify(ctx context.Context, source, target database.Dial, tables []catalog.Table, workers int, report func(Result)) error {
	queue := make(chan catalog.Table, len(tables))
	for _, t := range tables {
		queue <- t
	}
	close(queue)
	results := make(chan Result)
	group, ctx := errgroup.WithContext(ctx)
	for range min(workers, len(tables)) {
		group.Go(func() error { return s.verifyQueue(ctx, source, target, queue, results) })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range results {
			report(r)
		}
	}()
	err := group.Wait()
	close(results)
	<-done
	return err
}

func (s Sides) verifyQueue(ctx context.Context, source, target database.Dial, queue <-chan catalog.Table, results chan<- Result) error {
	from, err := s.open(ctx, source)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close(context.WithoutCancel(ctx)) }()
	to, err := s.open(ctx, target)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close(context.WithoutCancel(ctx)) }()
	for t := range queue {
		r := Result{Table: t}
		err := snapshot.Unlocking(ctx, from, func() error {
			return snapshot.Unlocking(ctx, to, func() error { return s.verify(ctx, from, to, &r) })
		})
		if err != nil {
			return err
		}
		results <- r
	}
	return nil
}

// verify fills in what is found of one table.
func (s Sides) verify(ctx context.Context, from, to *pgx.Conn, r *Result) (err error) {
	t := r.Table
	r.Source, r.Target, err = onBoth(ctx, from, to, func(ctx context.Context, conn *pgx.Conn) (Content, error) {
		return s.Content(ctx, conn, t)
	})
	if err == nil && !r.Equal() {
		r.Rewritten, err = rewritten(ctx, from, to, t)
	}
	if err == nil && !r.Equal() && !r.Rewritten {
		r.Difference, err = s.difference(ctx, from, to, t, max(r.Source.Rows, r.Target.Rows))
	}
	return err
}

// Queries see the catalog of the snapshot, functions that of now.
const rewrittenSQL = `
SELECT relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(oid)
FROM pg_catalog.pg_class
WHERE oid = $1::text::pg_catalog.regclass`

// rewritten says whether the table is another file on one of the sides than in its session's snapshot.
func rewritten(ctx context.Context, source, target *pgx.Conn, t catalog.Table) (bool, error) {
	left, right, err := onBoth(ctx, source, target, func(ctx context.Context, conn *pgx.Conn) (is bool, err error) {
		if err := conn.QueryRow(ctx, rewrittenSQL, t.SQLName()).Scan(&is); err != nil {
			return false, fmt.Errorf("looking whether table %s was rewritten: %w", t, err)
		}
		return is, nil
	})
	return left || right, err
}

func (s Sides) open(ctx context.Context, dial database.Dial) (*pgx.Conn, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Prepare(ctx, conn); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}
