-- Indexes that can serve as replica identity: unique, immediate, whole, on plain columns that are NOT NULL.
-- The best of a table first: the replica identity, the primary key, the fewest columns.
SELECT
    i.indrelid,
    x.relname,
    i.indisprimary,
    i.indisreplident,
    pg_catalog.array_agg(a.attname::text ORDER BY k.position)
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE c.relkind = 'r'
  AND i.indisunique
  AND i.indimmediate
  AND i.indisvalid
  AND i.indpred IS NULL
  AND i.indexprs IS NULL
  -- Columns beyond the key (INCLUDE, from 11 on) do not identify anything; such an index is left to the others.
  AND pg_catalog.cardinality(i.indkey::int2[]) = coalesce((pg_catalog.to_jsonb(i) ->> 'indnkeyatts')::int, pg_catalog.cardinality(i.indkey::int2[]))
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
GROUP BY i.indrelid, i.indexrelid, x.relname, i.indisprimary, i.indisreplident
-- The stream does not carry generated columns.
HAVING pg_catalog.bool_and(a.attnotnull AND coalesce(pg_catalog.to_jsonb(a) ->> 'attgenerated', '') = '')
ORDER BY i.indrelid, i.indisreplident DESC, i.indisprimary DESC, pg_catalog.count(*), i.indexrelid
