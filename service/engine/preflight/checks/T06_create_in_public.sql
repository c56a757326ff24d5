-- id: T06
-- side: target
-- severity: critical
-- since: 10
-- text: Login has no CREATE privilege on schema public
-- hint: Grant CREATE on schema public to the login.
SELECT count(*), '', NULL::text[]
FROM pg_namespace
WHERE nspname = 'public' AND NOT has_schema_privilege(oid, 'CREATE')
