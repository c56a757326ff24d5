-- id: S05
-- side: source
-- severity: critical
-- since: 10
-- leaves: offline
-- text: Parameter wal_level is '{detail}' (must be 'logical')
-- hint: Run "cf update-service INSTANCE -c '{"prepare_migration": "true"}'" for the source, then create a new service key if the old one still fails.
SELECT CASE WHEN current_setting('wal_level') <> 'logical' THEN 1 ELSE 0 END, current_setting('wal_level'), NULL::text[]
