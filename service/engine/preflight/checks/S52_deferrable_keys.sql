-- id: S52
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Deferrable unique constraints cannot serve as replica identity ({count:constraint} found)
-- hint: Make the constraints not deferrable, or add another unique index on columns that are NOT NULL.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(k.conname) AS name
    FROM {{user_tables}} t JOIN pg_constraint k ON k.conrelid = t.oid
    WHERE t.relkind = 'r' AND k.contype IN ('p', 'u') AND k.condeferrable
        AND NOT EXISTS (SELECT 1 FROM {{usable_keys}} u WHERE u.indrelid = t.oid)
) AS found
