-- id: S07
-- side: source
-- severity: critical
-- since: 10
-- leaves: offline
-- text: Not enough free replication slots ({detail} in use, 2 needed)
-- hint: Drop replication slots that are not used any more or have max_replication_slots raised.
SELECT CASE WHEN total - used < 2 THEN 1 ELSE 0 END, used || ' of ' || total, names
FROM (
    SELECT current_setting('max_replication_slots')::bigint AS total, count(slot_name) AS used,
        (array_agg(slot_name::text ORDER BY slot_name))[1:10] AS names
    FROM pg_replication_slots
    WHERE slot_name NOT LIKE 'pgmig\_preflight\_%' AND slot_name <> 'pgmig_' || @migration::text
) AS slots
