-- id: S61
-- side: source
-- severity: warning
-- since: 10
-- text: Privileges of other roles are not migrated ({count:role} found)
-- hint: Grant the privileges on the target after the migration.
-- note: What PUBLIC may do by default, such as to execute functions, it may do on the target too.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END AS name
    FROM (
        SELECT c.relacl AS acl, c.relowner AS owner, false AS public
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        UNION ALL
        SELECT a.attacl, t.relowner, false
        FROM {{user_tables}} t JOIN pg_attribute a ON a.attrelid = t.oid
        UNION ALL
        SELECT n.nspacl, n.nspowner, n.nspname = 'public'
        FROM pg_namespace n
        WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        UNION ALL
        SELECT p.proacl, p.proowner, true
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    ) AS objects
        CROSS JOIN LATERAL aclexplode(objects.acl) AS a
    WHERE CASE
            WHEN a.grantee = 0 THEN NOT objects.public
            ELSE NOT pg_has_role(a.grantee, objects.owner, 'USAGE') AND pg_get_userbyid(a.grantee) NOT IN (current_user, session_user)
        END
) AS found
