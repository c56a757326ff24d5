-- id: S44
-- side: source
-- severity: warning
-- since: 10
-- text: Rows of extension tables may differ ({count:table} found)
-- hint: Compare these tables with those of the target after the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_extension e
        CROSS JOIN LATERAL unnest(e.extconfig) AS config(oid)
        JOIN pg_class c ON c.oid = config.oid
    WHERE c.relkind = 'r'
) AS found
