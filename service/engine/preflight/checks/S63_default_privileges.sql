-- id: S63
-- side: source
-- severity: warning
-- since: 10
-- text: Default privileges are not migrated ({count:entry|entries} found)
-- hint: Set them on the target with ALTER DEFAULT PRIVILEGES.
SELECT count(*), '', (array_agg(DISTINCT pg_get_userbyid(defaclrole)::text))[1:10]
FROM pg_default_acl
