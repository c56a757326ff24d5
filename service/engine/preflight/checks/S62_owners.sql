-- id: S62
-- side: source
-- severity: warning
-- since: 10
-- text: Objects of other owners will be owned by the target login ({count:owner} found)
-- hint: Change the owners on the target after the migration if need be.
SELECT CASE WHEN count(*) > 1 THEN count(*) ELSE 0 END, '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT DISTINCT pg_get_userbyid(t.relowner)::text AS name
    FROM {{user_tables}} t
) AS owners
