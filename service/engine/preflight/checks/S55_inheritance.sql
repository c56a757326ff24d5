-- id: S55
-- side: source
-- severity: warning
-- since: 10
-- text: Inherited tables are copied table by table ({count:table} found)
-- hint: Nothing needs to be done.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = t.oid)
) AS found
