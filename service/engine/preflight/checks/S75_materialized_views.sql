-- id: S75
-- side: source
-- severity: warning
-- since: 10
-- text: Materialized views are refreshed during the finalization ({count:view} found)
-- hint: Plan the time for the refresh.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
) AS found
