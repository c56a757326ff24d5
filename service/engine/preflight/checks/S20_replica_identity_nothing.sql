-- id: S20
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Tables with REPLICA IDENTITY NOTHING ({count:table} found)
-- hint: Nothing needs to be done: they get another identity for the time of the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relreplident = 'n'
) AS found
