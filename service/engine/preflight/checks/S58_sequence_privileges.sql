-- id: S58
-- side: source
-- severity: critical
-- since: 10
-- text: Login cannot read all sequences ({count:sequence} found)
-- hint: Grant the login SELECT on these sequences and USAGE on their schemas.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT') OR NOT has_schema_privilege(n.oid, 'USAGE') ELSE false END
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
) AS found
