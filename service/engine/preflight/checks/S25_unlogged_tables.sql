-- id: S25
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Unlogged tables are copied during the finalization ({count:table} found)
-- hint: Empty these tables or use ALTER TABLE ... SET LOGGED to shorten the finalization.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relpersistence = 'u'
) AS found
