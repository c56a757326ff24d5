-- How many indexes, constraints of each kind and valid foreign keys there are. From version 18 on NOT NULL is a constraint
-- too, and is left out.
WITH named AS (
    SELECT oid
    FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^(pg_|_pgmig|pgcopydb)'
      AND nspname <> 'information_schema'
)
SELECT 'indexes', count(*)
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN named AS n ON n.oid = c.relnamespace
WHERE i.indisvalid
UNION ALL
SELECT 'constraints ' || contype::text, count(*)
FROM pg_catalog.pg_constraint AS c
JOIN named AS n ON n.oid = c.connamespace
WHERE contype <> 'n'
  AND convalidated
GROUP BY contype
