-- id: S62
-- side: source
-- severity: warning
-- since: 10
-- text: Objects of other owners will be owned by the target login ({count:owner} found)
-- hint: Change the owners on the target after the migration if need be.
SELECT CASE WHEN count(*) > 1 THEN count(*) ELSE 0 END, '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT DISTINCT pg_get_userbyid(o.owner)::text AS name
    FROM (
        SELECT 'pg_class'::regclass AS class, c.oid, c.relnamespace AS namespace, c.relowner AS owner
        FROM pg_class c
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid, p.pronamespace, p.proowner
        FROM pg_proc p
    ) AS o
        JOIN pg_namespace n ON n.oid = o.namespace
    WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        -- What belongs to an extension, and the constructors of range types, have the owner that they get.
        AND NOT EXISTS (
            SELECT 1 FROM pg_depend d
            WHERE d.classid = o.class AND d.objid = o.oid AND (d.deptype = 'e' OR d.deptype = 'i' AND o.class = 'pg_proc'::regclass))
) AS owners
