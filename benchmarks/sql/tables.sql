-- The tables that hold rows, but for the system's and those that a tool keeps for itself; the largest first.
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
  AND n.nspname !~ '^(pg_|_pgmig|pgcopydb)'
  AND n.nspname <> 'information_schema'
ORDER BY pg_catalog.pg_relation_size(c.oid) DESC
