-- id: S18
-- side: source
-- severity: warning
-- since: 10
-- text: Lock table may be too small ({count:table}, about {detail} lock entries)
-- hint: Have max_locks_per_transaction raised.
SELECT CASE WHEN tables > 0.7 * entries AND tables <= 1.8 * entries + 1500 THEN tables ELSE 0 END, entries::text, NULL::text[]
FROM (
    SELECT count(*) AS tables, current_setting('max_locks_per_transaction')::bigint * (
        current_setting('max_connections')::bigint
        + current_setting('max_prepared_transactions')::bigint
        + current_setting('max_worker_processes')::bigint
        + current_setting('max_wal_senders')::bigint
        + coalesce(current_setting('autovacuum_worker_slots', true), current_setting('autovacuum_max_workers'))::bigint) AS entries
    FROM {{user_tables}} t
) AS locks
