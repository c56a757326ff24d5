-- id: S27
-- side: source
-- severity: warning
-- since: 18
-- only: logical
-- text: Parameter idle_replication_slot_timeout is {detail} (a paused replication is lost)
-- hint: Have idle_replication_slot_timeout set to 0 for the time of the migration.
SELECT CASE WHEN setting::bigint <> 0 THEN 1 ELSE 0 END, setting || ' ' || unit, NULL::text[]
FROM pg_settings
WHERE name = 'idle_replication_slot_timeout'
