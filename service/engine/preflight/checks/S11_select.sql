-- id: S11
-- side: source
-- severity: critical
-- since: 10
-- text: Login cannot read all tables ({count:table} found)
-- hint: Grant the login SELECT on these tables and USAGE on their schemas.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE NOT has_table_privilege(t.oid, 'SELECT') OR NOT has_schema_privilege(t.nspname, 'USAGE')
) AS found
