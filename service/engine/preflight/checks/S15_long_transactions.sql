-- id: S15
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Long-running transactions delay the start of the replication ({count:transaction} found, oldest {detail} min)
-- hint: End these transactions before the replication starts.
SELECT count(*), coalesce(floor(extract(epoch FROM now() - min(xact_start)) / 60)::bigint, 0)::text,
    (array_agg('process ' || pid ORDER BY xact_start))[1:10]
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - interval '5 minutes'
