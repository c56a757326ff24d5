-- id: S05
-- side: source
-- severity: critical
-- since: 10
-- text: Parameter wal_level is '{detail}' (must be 'logical')
-- hint: Have the operator set wal_level to logical, or prepare the source with: cf update-service SOURCE -c '{"prepare_migration": "true"}'
SELECT CASE WHEN current_setting('wal_level') <> 'logical' THEN 1 ELSE 0 END, current_setting('wal_level'), NULL::text[]
