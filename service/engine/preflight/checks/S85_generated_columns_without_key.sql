-- id: S85
-- side: source
-- severity: critical
-- since: 18
-- text: Tables with generated columns need a key as replica identity ({count:table} found)
-- hint: Add a primary key to these tables and set their REPLICA IDENTITY to DEFAULT.
-- note: PostgreSQL 18 refuses UPDATE and DELETE of a published table whose replica identity holds a generated column that is not published.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relpersistence = 'p'
        AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attgenerated <> '' AND NOT a.attisdropped)
        AND (t.relreplident = 'f' OR NOT EXISTS (SELECT 1 FROM {{usable_keys}} k WHERE k.indrelid = t.oid))
) AS found
