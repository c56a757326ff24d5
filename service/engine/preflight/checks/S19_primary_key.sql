-- id: S19
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Tables without primary key are replicated by comparing whole rows ({count:table} found)
-- hint: Add a primary key, or a unique index on columns that are NOT NULL.
-- note: A unique index serves as well as a primary key, so tables that have one are not meant.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relpersistence = 'p'
        AND NOT EXISTS (SELECT 1 FROM {{usable_keys}} k WHERE k.indrelid = t.oid)
) AS found
