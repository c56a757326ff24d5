-- id: S35
-- side: source
-- severity: warning
-- since: 10
-- text: Foreign tables need their user mappings on the target ({count:foreign table} found)
-- hint: Create the user mappings on the target after the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'f' AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
) AS found
