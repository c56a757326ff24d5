package catalog

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// stamped are the catalogs that a dump is made of, besides that of functions. What ANALYZE and VACUUM write is written in place, or
// in other catalogs.
var stamped = []string{
	"pg_class", "pg_attribute", "pg_attrdef", "pg_index", "pg_constraint", "pg_trigger", "pg_rewrite", "pg_type", "pg_enum",
	"pg_policy", "pg_inherits", "pg_partitioned_table", "pg_sequence", "pg_statistic_ext", "pg_collation", "pg_conversion",
	"pg_cast", "pg_operator", "pg_opclass", "pg_opfamily", "pg_amop", "pg_amproc", "pg_aggregate", "pg_range", "pg_transform",
	"pg_language", "pg_am", "pg_extension", "pg_foreign_server", "pg_foreign_data_wrapper", "pg_foreign_table", "pg_ts_config",
	"pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_description", "pg_seclabel", "pg_default_acl",
	"pg_event_trigger", "pg_namespace",
}

const (
	// A sum over the versions of all rows: any change of the schema makes new versions of rows or removes some.
	stampSQL = `
SELECT pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0)
FROM pg_catalog.{catalog}`

	// The same without functions of ours.
	functionsStampSQL = `
SELECT pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(p.xmin::text || p.ctid::text)), 0)
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^_pgmig'`
)

// ReadStamp gives a text that is another one after every change of the schema, and sometimes without one. It takes a small
// part of the time that the fingerprint takes. Catalogs are read one by one: all of them at once take more locks than a server
// with many tables may have left.
func ReadStamp(ctx context.Context, q Querier) (string, error) {
	var stamp strings.Builder
	for _, catalog := range stamped {
		if err := addStamp(ctx, q, &stamp, strings.ReplaceAll(stampSQL, "{catalog}", catalog)); err != nil {
			return "", err
		}
	}
	if err := addStamp(ctx, q, &stamp, functionsStampSQL); err != nil {
		return "", err
	}
	return stamp.String(), nil
}

func addStamp(ctx context.Context, q Querier, stamp *strings.Builder, sql string) error {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return fmt.Errorf("reading the stamp of the schema: %w", err)
	}
	part, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("reading the stamp of the schema: %w", err)
	}
	stamp.WriteString(part + " ")
	return nil
}
