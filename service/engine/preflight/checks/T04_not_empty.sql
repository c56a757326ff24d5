-- id: T04
-- side: target
-- severity: warning
-- since: 10
-- text: Database is not empty ({count:object} found)
-- hint: Use a new service instance as the target, or see that the objects are meant to stay.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT name FROM {{user_objects}} o
    UNION ALL
    SELECT 'schema ' || quote_ident(n.nspname)
    FROM pg_namespace n
    WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema' AND n.nspname <> 'public'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'large object ' || oid FROM pg_largeobject_metadata
) AS found
