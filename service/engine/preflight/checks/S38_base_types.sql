-- id: S38
-- side: source
-- severity: critical
-- since: 10
-- text: User-defined base types cannot be created on the target ({count:type} found)
-- hint: Replace these types, or install the extension that they belong to.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regtype::text AS name
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'b' AND t.typelem = 0 AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
) AS found
