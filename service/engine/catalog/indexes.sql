-- The table of each index, and the constraint that the index is of. Indexes of partitioned tables hold nothing themselves.
SELECT
    n.nspname,
    ic.relname,
    tc.relname,
    i.indrelid
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS ic ON ic.oid = i.indexrelid
JOIN pg_catalog.pg_class AS tc ON tc.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = ic.relnamespace
WHERE tc.relkind = 'r'
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
