-- id: S20
-- side: source
-- severity: warning
-- since: 10
-- text: Tables with REPLICA IDENTITY NOTHING ({count:table} found)
-- hint: Set REPLICA IDENTITY DEFAULT or FULL, unless rows are only ever inserted.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relreplident = 'n'
) AS found
