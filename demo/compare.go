package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// contents is a table's or sequence's contents in two words.
type contents struct {
	rows int64
	hash string
}

// Tables, but for the system's and those that a migration keeps. Materialized views are filled anew on the target, so
// they may well be newer there.
const listTables = `SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
ORDER BY 1`

// The sums do not depend on the order of the rows; two of them make an accident unlikely.
const hashRows = `SELECT count(*), md5(concat_ws(' ',
	sum(hashtextextended(t::text, 0)::numeric), sum(hashtextextended(t::text, 1)::numeric)))
FROM ONLY %s t`

// How far each sequence is, in its own direction; one that was never asked stands before its first value.
const listSequences = `SELECT pg_catalog.format('%I.%I', schemaname, sequencename), sign(increment_by)::bigint * coalesce(last_value, start_value - increment_by)
FROM pg_catalog.pg_sequences
WHERE schemaname !~ '^(pg_|_pgmig)'`

// Values must look the same as text on both servers.
const sameText = `SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1;
SET bytea_output = 'hex'; SET xmloption = 'content'; SET search_path = ''; SET statement_timeout = 0`

// compare prints rows and hash of every table on both sides and tells whether all are equal, and
// no sequence of the target is behind the source's.
func compare(ctx context.Context, to io.Writer, sourceURL, targetURL string) (bool, error) {
	var source, target side
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() (err error) { source, err = look(bothCtx, sourceURL); return })
	both.Go(func() (err error) { target, err = look(bothCtx, targetURL); return })
	if err := both.Wait(); err != nil {
		return false, fmt.Errorf("comparing the databases: %w", err)
	}

	equal := len(source.tables) > 0
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TABLE\tROWS\tROWS\tHASH OF SOURCE\tHASH OF TARGET\t")
	names := slices.Sorted(maps.Keys(source.tables))
	for name := range target.tables {
		if _, found := source.tables[name]; !found {
			names = append(names, name)
		}
	}
	for _, name := range names {
		before, after := source.tables[name], target.tables[name]
		verdict := "equal"
		if before != after {
			verdict, equal = "DIFFERENT", false
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\n",
			name, before.rows, after.rows, cmp.Or(before.hash, "-"), cmp.Or(after.hash, "-"), verdict)
	}
	if err := table.Flush(); err != nil {
		return false, fmt.Errorf("printing the comparison: %w", err)
	}

	behind := 0
	for name, value := range source.sequences {
		if reached, found := target.sequences[name]; !found || reached < value {
			fmt.Fprintf(to, "Sequence %s is at %d, on the target at %d.\n", name, value, reached)
			behind++
		}
	}
	fmt.Fprintf(to, "%d of %d sequences are as far as the source's.\n", len(source.sequences)-behind, len(source.sequences))
	return equal && behind == 0, nil
}

// side is what one database holds.
type side struct {
	tables    map[string]contents
	sequences map[string]int64
}

func look(ctx context.Context, url string) (side, error) {
	seen := side{tables: map[string]contents{}, sequences: map[string]int64{}}
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return seen, err
	}
	defer connection.Close(context.WithoutCancel(ctx))
	if _, err := connection.Exec(ctx, sameText, pgx.QueryExecModeSimpleProtocol); err != nil {
		return seen, err
	}
	rows, err := connection.Query(ctx, listTables)
	if err != nil {
		return seen, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return seen, err
	}
	for _, name := range names {
		var c contents
		if err := connection.QueryRow(ctx, fmt.Sprintf(hashRows, name)).Scan(&c.rows, &c.hash); err != nil {
			return seen, fmt.Errorf("reading table %s: %w", name, err)
		}
		seen.tables[name] = c
	}
	if rows, err = connection.Query(ctx, listSequences); err != nil {
		return seen, err
	}
	var name string
	var value int64
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		seen.sequences[name] = value
		return nil
	})
	return seen, err
}

// databaseSize tells how large a database is, for people.
func databaseSize(ctx context.Context, url string) (string, error) {
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", fmt.Errorf("asking for the database's size: %w", err)
	}
	defer connection.Close(ctx)
	var size string
	err = connection.QueryRow(ctx, `SELECT pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(current_database()))`).Scan(&size)
	if err != nil {
		return "", fmt.Errorf("asking for the database's size: %w", err)
	}
	return size, nil
}
