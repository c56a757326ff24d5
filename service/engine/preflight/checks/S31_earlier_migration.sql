-- id: S31
-- side: source
-- severity: critical
-- since: 10
-- text: Objects of an earlier migration exist ({detail})
-- hint: Run 'cf pg-migrate delete-replication' for the earlier migration, or drop these objects if it is gone already.
SELECT count(*), coalesce(string_agg(name, ', ' ORDER BY name) FILTER (WHERE number <= 3), '')
        || CASE WHEN count(*) > 3 THEN ', ...' ELSE '' END,
    (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT name, row_number() OVER (ORDER BY name) AS number
    FROM (
        SELECT 'slot ' || slot_name AS name
        FROM pg_replication_slots
        WHERE slot_name LIKE 'pgmig\_%' AND slot_name NOT LIKE 'pgmig\_preflight\_%'
            AND slot_name <> 'pgmig_' || @migration::text AND database = current_database()
        UNION ALL
        SELECT 'publication ' || pubname
        FROM pg_publication
        WHERE pubname LIKE 'pgmig\_%' AND pubname <> 'pgmig_' || @migration::text
        UNION ALL
        SELECT 'schema ' || nspname
        FROM pg_namespace
        WHERE nspname ~ '^_pgmig' AND nspname <> '_pgmig_' || @migration::text
    ) AS objects
) AS found
