-- id: S13
-- side: source
-- severity: critical
-- since: 10
-- text: Row-level security hides rows from the login ({count:table} found)
-- hint: Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY for the time of the migration, or a login with BYPASSRLS.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE row_security_active(t.oid)
) AS found
