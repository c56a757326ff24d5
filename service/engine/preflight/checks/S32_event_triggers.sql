-- id: S32
-- side: source
-- severity: warning
-- since: 10
-- text: Event triggers are not migrated ({count:event trigger} found)
-- hint: Create the event triggers on the target after the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT e.evtname::text AS name
    FROM pg_event_trigger e
    WHERE e.evtenabled <> 'D' AND e.evtname !~ '^_?pgmig'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
) AS found
