-- id: S52
-- side: source
-- severity: warning
-- since: 10
-- text: Deferrable primary keys cannot serve as replica identity ({count:table} found)
-- hint: Make the primary key not deferrable, or set REPLICA IDENTITY USING INDEX to another unique index.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relreplident = 'd'
        AND EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype = 'p' AND k.condeferrable)
) AS found
