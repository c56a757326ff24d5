package preflight

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What a function gives that does not find what it calls or reads.
var notFound = []string{
	"42883", // undefined_function
	"42P01", // undefined_table
	"42704", // undefined_object: a type
	"3F000", // invalid_schema_name: there is no schema to look in
}

// searchPathSQL gives a query for each index, check constraint and generated column that calls functions, to compute it for one
// row; for one of NULLs when there is none.
const searchPathSQL = `
SELECT name, format('SELECT %s FROM (SELECT) AS one LEFT JOIN %s ON true LIMIT 1', expression, relation)
FROM (
    SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass AS relation,
        concat_ws(', ', pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)) AS expression,
        'pg_class'::regclass AS class, i.indexrelid AS object
    FROM pg_index i
    WHERE coalesce(i.indexprs, i.indpred) IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
    UNION ALL
    SELECT k.conrelid::regclass || '.' || quote_ident(k.conname), k.conrelid, pg_get_expr(k.conbin, k.conrelid), 'pg_constraint'::regclass, k.oid
    FROM pg_constraint k
    WHERE k.contype = 'c' AND k.conrelid <> 0 AND k.coninhcount = 0
    UNION ALL
    SELECT a.attrelid::regclass || '.' || quote_ident(a.attname), a.attrelid, pg_get_expr(d.adbin, d.adrelid), 'pg_attrdef'::regclass, d.oid
    FROM pg_attrdef d
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    JOIN pg_class c ON c.oid = a.attrelid
    WHERE to_jsonb(a) ->> 'attgenerated' = 's' AND NOT c.relispartition
) AS computed
WHERE relation::oid IN (SELECT t.oid FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
        WHERE t.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema')
    AND EXISTS (
        SELECT 1 FROM pg_depend u
        JOIN pg_proc p ON p.oid = u.refobjid
        JOIN pg_language l ON l.oid = p.prolang
        WHERE u.classid = class AND u.objid = object AND u.refclassid = 'pg_proc'::regclass
            AND l.lanname NOT IN ('internal', 'c')
            AND NOT EXISTS (SELECT 1 FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%'))
ORDER BY name
LIMIT 1000`

// checkSearchPath computes on the source what the target will have to compute without a search path, as pg_restore does, and
// servers from 17 on themselves: a function that relies on one works in the application's sessions only.
func (i *inspection) checkSearchPath(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	rows, err := i.conn.Query(ctx, searchPathSQL, pgx.QueryExecModeExec)
	if err == nil {
		var r result
		r, err = i.computed(ctx, rows)
		if err == nil && r.count > 0 {
			i.report("S88", r)
		}
	}
	if err != nil {
		i.fail("S88", err)
	}
}

// computed runs the queries and names those that do not find what they call.
func (i *inspection) computed(ctx context.Context, rows pgx.Rows) (r result, err error) {
	type query struct{ Name, SQL string }
	queries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[query])
	if err != nil {
		return r, err
	}
	for _, q := range queries {
		_, err := i.conn.Exec(ctx, q.SQL, pgx.QueryExecModeExec)
		if i.conn.IsClosed() {
			return r, err
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) && slices.Contains(notFound, refused.Code) {
			r.count++
			if r.names = append(r.names, q.Name); len(r.names) > 10 {
				r.names = r.names[:10]
			}
		}
	}
	return r, nil
}
