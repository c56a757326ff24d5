-- id: T09
-- side: target
-- severity: warning
-- since: 10
-- text: Event triggers exist on the target ({count:event trigger} found)
-- hint: See that they do not keep the migration from creating tables.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT e.evtname::text AS name
    FROM pg_event_trigger e
    WHERE e.evtenabled <> 'D' AND e.evtname !~ '^_?pgmig'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
) AS found
