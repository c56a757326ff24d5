-- id: S24
-- side: source
-- severity: critical
-- since: 10
-- text: Login cannot read all large objects ({count:object} found)
-- hint: Grant SELECT on these large objects to the login.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT l.oid::text AS name
    FROM pg_largeobject_metadata l
    WHERE NOT pg_has_role(current_user, l.lomowner, 'USAGE') AND l.lomacl IS NULL
        AND current_setting('lo_compat_privileges') = 'off'
) AS found
