-- id: S74
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Tables with REPLICA IDENTITY FULL and large values cause much WAL ({count:table} found)
-- hint: Use a primary key as replica identity.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relreplident = 'f'
        AND EXISTS (
            SELECT 1 FROM pg_attribute a
            WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage IN ('x', 'e'))
) AS found
