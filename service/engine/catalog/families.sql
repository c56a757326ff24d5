-- Tables with the tables below them, at any depth, whose rows they show too. $1: with partitioned tables that are partitions.
WITH RECURSIVE below AS (
    SELECT i.inhparent AS parent, i.inhrelid AS member
    FROM pg_catalog.pg_inherits AS i
    UNION
    SELECT b.parent, i.inhrelid
    FROM below AS b
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent = b.member
)
SELECT pn.nspname, p.relname, p.relkind = 'p', pg_catalog.array_agg(n.nspname::text), pg_catalog.array_agg(c.relname::text)
FROM below AS b
JOIN pg_catalog.pg_class AS p ON p.oid = b.parent
JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
JOIN pg_catalog.pg_class AS c ON c.oid = b.member
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.relkind IN ('p', 'r')
  AND c.relkind = 'r'
  AND c.relpersistence <> 't'
  AND ($1 OR NOT p.relispartition)
  AND pn.nspname !~ '^(pg_|_pgmig)'
  AND pn.nspname <> 'information_schema'
GROUP BY p.oid, pn.nspname, p.relname, p.relkind
ORDER BY pn.nspname, p.relname
