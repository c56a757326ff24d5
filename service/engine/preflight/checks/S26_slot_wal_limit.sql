-- id: S26
-- side: source
-- severity: warning
-- since: 13
-- only: logical
-- text: Parameter max_slot_wal_keep_size is {detail} MB (the replication is lost when the target lags more)
-- hint: Have max_slot_wal_keep_size raised for the time of the migration.
SELECT CASE WHEN setting::bigint BETWEEN 0 AND 10240 THEN 1 ELSE 0 END, setting, NULL::text[]
FROM pg_settings
WHERE name = 'max_slot_wal_keep_size'
