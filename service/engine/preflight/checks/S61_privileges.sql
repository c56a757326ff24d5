-- id: S61
-- side: source
-- severity: warning
-- since: 10
-- text: Privileges of other roles are not migrated ({count:role} found)
-- hint: Grant the privileges on the target after the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT DISTINCT pg_get_userbyid(a.grantee)::text AS name
    FROM {{user_tables}} t CROSS JOIN LATERAL aclexplode(t.relacl) AS a
    WHERE a.grantee <> 0 AND NOT pg_has_role(a.grantee, t.relowner, 'USAGE')
        AND pg_get_userbyid(a.grantee) NOT IN (current_user, session_user)
) AS found
