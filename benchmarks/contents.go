package main

import (
	"context"
	_ "embed" // for the SQL
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

var (
	//go:embed sql/tables.sql
	tablesSQL string
	//go:embed sql/structure.sql
	structureSQL string
	//go:embed sql/sequences.sql
	sequencesSQL string
)

// contents is what a database holds: rows and checksum of each table, how many indexes and constraints of each kind, and
// where each sequence stands.
type contents map[string]string

// The sum does not depend on the order of the rows.
const hashSQL = `SELECT count(*) || ' rows, ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ONLY %s AS t`

// sameText makes values look the same on both servers.
const sameText = `SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET search_path = ''`

// compared is what a comparison looks at.
type compared int

const (
	rows       compared = iota // the tables' rows: all that a stream carries
	everything                 // structure and sequences too
)

// readers is how many tables of one database are read at once.
const readers = 2

func read(ctx context.Context, url string, what compared) (contents, error) {
	tables, err := column[string](ctx, url, tablesSQL)
	if err != nil {
		return nil, err
	}
	if len(tables) == 0 {
		return nil, fmt.Errorf("there is no table to compare")
	}
	queue := make(chan string, len(tables))
	for _, table := range tables {
		queue <- table
	}
	close(queue)
	c := contents{}
	var mu sync.Mutex
	group, groupCtx := errgroup.WithContext(ctx)
	for range min(readers, len(tables)) {
		group.Go(func() error {
			conn, err := pgx.Connect(groupCtx, url)
			if err != nil {
				return fmt.Errorf("connecting to the database: %w", err)
			}
			defer conn.Close(context.WithoutCancel(ctx))
			if _, err := conn.Exec(groupCtx, sameText, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("setting the session up: %w", err)
			}
			for table := range queue {
				var hash string
				if err := conn.QueryRow(groupCtx, fmt.Sprintf(hashSQL, table)).Scan(&hash); err != nil {
					return fmt.Errorf("reading table %s: %w", table, err)
				}
				mu.Lock()
				c["table "+table] = hash
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if what == rows {
		return c, nil
	}
	return c, c.addStructure(ctx, url)
}

func (c contents) addStructure(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{structureSQL, sequencesSQL} {
		lines, err := conn.Query(ctx, sql)
		if err != nil {
			return fmt.Errorf("reading the structure: %w", err)
		}
		var (
			name  string
			value int64
		)
		if _, err := pgx.ForEachRow(lines, []any{&name, &value}, func() error {
			c[name] = fmt.Sprint(value)
			return nil
		}); err != nil {
			return fmt.Errorf("reading the structure: %w", err)
		}
	}
	return nil
}

// checkEqual compares two databases.
func checkEqual(ctx context.Context, source, target string, what compared) error {
	var from, to contents
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { from, err = read(groupCtx, source, what); return })
	group.Go(func() (err error) { to, err = read(groupCtx, target, what); return })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("comparing the databases: %w", err)
	}
	all := maps.Clone(from)
	maps.Copy(all, to)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if from[name] != to[name] {
			return fmt.Errorf("the databases differ: %s is %q on the source and %q on the target", name, from[name], to[name])
		}
	}
	return nil
}

// column reads one column.
func column[T any](ctx context.Context, url, sql string) ([]T, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	lines, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("running %.100s: %w", sql, err)
	}
	return pgx.CollectRows(lines, pgx.RowTo[T])
}
