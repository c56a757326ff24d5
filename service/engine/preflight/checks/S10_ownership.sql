-- id: S10
-- side: source
-- severity: critical
-- since: 10
-- text: Login does not own all tables ({count:table} found)
-- hint: Give the tables to the login's owner role, for instance with REASSIGN OWNED.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE NOT pg_has_role(current_user, t.relowner, 'USAGE')
) AS found
