-- Partitioned tables, a parent before its children.
WITH RECURSIVE parents AS (
    SELECT c.oid, c.relnamespace, c.relname, 0 AS depth
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid)
    UNION ALL
    SELECT c.oid, c.relnamespace, c.relname, p.depth + 1
    FROM parents AS p
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.oid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
    WHERE c.relkind = 'p'
)
SELECT n.nspname, p.relname
FROM parents AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.relnamespace
WHERE n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
ORDER BY p.depth, n.nspname, p.relname
