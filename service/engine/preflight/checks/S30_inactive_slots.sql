-- id: S30
-- side: source
-- severity: warning
-- since: 10
-- text: Inactive replication slots retain WAL ({count:slot} found, {detail})
-- hint: Drop the replication slots that are not used any more.
SELECT count(*), pg_size_pretty(coalesce(max(retained), 0)), (array_agg(slot_name::text ORDER BY slot_name))[1:10]
FROM (
    SELECT slot_name, CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) END AS retained
    FROM pg_replication_slots
    WHERE NOT active AND slot_name <> 'pgmig_' || @migration::text
) AS slots
WHERE retained > 1073741824
