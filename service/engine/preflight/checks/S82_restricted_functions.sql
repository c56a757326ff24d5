-- id: S82
-- side: source
-- severity: warning
-- since: 10
-- text: Functions that PUBLIC may not execute will be open to PUBLIC on the target ({count:function} found)
-- hint: Revoke EXECUTE on these functions from PUBLIC on the target after the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT p.oid::regprocedure::text AS name
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proacl IS NOT NULL AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM aclexplode(p.proacl) a WHERE a.grantee = 0)
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
) AS found
