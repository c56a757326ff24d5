-- id: S19
-- side: source
-- severity: warning
-- since: 10
-- text: Tables without primary key are replicated by comparing whole rows ({count:table} found)
-- hint: Add a primary key, or set REPLICA IDENTITY USING INDEX to a unique index.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relpersistence = 'p' AND t.relreplident = 'd'
        AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)
) AS found
