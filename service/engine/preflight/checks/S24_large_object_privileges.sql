-- id: S24
-- side: source
-- severity: critical
-- since: 10
-- text: Login cannot read all large objects ({count:object} found)
-- hint: Grant the login SELECT on these large objects.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT l.oid::text AS name
    FROM pg_largeobject_metadata l
    WHERE current_setting('lo_compat_privileges') = 'off'
        AND NOT EXISTS (
            SELECT 1
            FROM aclexplode(coalesce(l.lomacl, acldefault('L', l.lomowner))) a
            WHERE a.privilege_type = 'SELECT'
                AND CASE WHEN a.grantee = 0 THEN true ELSE pg_has_role(current_user, a.grantee, 'USAGE') END)
) AS found
