-- id: S36
-- side: source
-- severity: critical
-- since: 10
-- text: Partitions that are foreign tables cannot be replicated ({count:partition} found)
-- hint: Detach these partitions.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind = 'f'
        JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
) AS found
