-- id: S69
-- side: source
-- severity: warning
-- since: 10
-- text: Tables larger than 100 GB found ({count:table})
-- hint: Plan enough time for the copy.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relpages > 12800000
) AS found
