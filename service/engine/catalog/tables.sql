-- Tables that hold rows: ordinary tables and leaf partitions. What belongs to an extension is made by the extension.
SELECT
    c.oid,
    n.nspname,
    c.relname,
    c.relpersistence = 'u',
    c.relreplident::text,
    coalesce(pg_catalog.pg_relation_filenode(c.oid), 0),
    coalesce(pg_catalog.pg_table_size(c.oid), 0),
    -- As the planner does it: the rows in a page at the last ANALYZE or VACUUM, in as many pages as there are now.
    coalesce(
        greatest(c.reltuples, 0)::float8 / nullif(c.relpages, 0)
            * pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::float8,
        0)::bigint
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
  AND c.relpersistence <> 't'
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
