-- id: S21
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Tables without key have columns that can be compared only as text ({count:table} found)
-- hint: Add a primary key to these tables.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relpersistence = 'p'
        AND NOT EXISTS (SELECT 1 FROM {{usable_keys}} k WHERE k.indrelid = t.oid)
        AND EXISTS (
            SELECT 1 FROM pg_attribute a
            WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND a.atttypid IN ('json'::regtype, 'xml'::regtype, 'point'::regtype, 'polygon'::regtype, 'path'::regtype, 'line'::regtype))
) AS found
