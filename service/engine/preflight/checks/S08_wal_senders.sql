-- id: S08
-- side: source
-- severity: critical
-- since: 10
-- leaves: offline
-- text: Not enough free WAL senders ({detail} in use, 2 needed)
-- hint: Stop replication clients that are not needed or have max_wal_senders raised.
SELECT CASE WHEN total - used < 2 THEN 1 ELSE 0 END, used || ' of ' || total, NULL::text[]
FROM (
    SELECT current_setting('max_wal_senders')::bigint AS total, count(*) AS used
    FROM pg_stat_replication
) AS senders
