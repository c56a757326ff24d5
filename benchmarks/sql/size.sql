-- What there is to move: tables with TOAST and indexes, in bytes.
SELECT sum(pg_catalog.pg_total_relation_size(c.oid))::bigint
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
  AND n.nspname !~ '^(pg_|_pgmig|pgcopydb)'
  AND n.nspname <> 'information_schema'
