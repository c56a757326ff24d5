-- id: S65
-- side: source
-- severity: warning
-- since: 10
-- text: Tablespaces are not kept ({count:table} found)
-- hint: Nothing needs to be done.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.reltablespace <> 0
) AS found
