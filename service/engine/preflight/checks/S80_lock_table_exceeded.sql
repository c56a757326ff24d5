-- id: S80
-- side: source
-- severity: critical
-- since: 10
-- text: Lock table is too small for pg_dump, which locks all tables ({count:table}, about {detail} lock entries)
-- hint: Have max_locks_per_transaction raised.
-- note: The server has more shared memory than the settings say; up to 1.7 times the entries and 1200 were measured on 15 and 18.
SELECT CASE WHEN tables > 1.8 * entries + 1500 THEN tables ELSE 0 END, entries::text, NULL::text[]
FROM (
    SELECT count(*) AS tables, current_setting('max_locks_per_transaction')::bigint * (
        current_setting('max_connections')::bigint
        + current_setting('max_prepared_transactions')::bigint
        + current_setting('max_worker_processes')::bigint
        + current_setting('max_wal_senders')::bigint
        + coalesce(current_setting('autovacuum_worker_slots', true), current_setting('autovacuum_max_workers'))::bigint) AS entries
    FROM {{user_tables}} t
) AS locks
