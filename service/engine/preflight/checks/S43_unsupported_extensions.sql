-- id: S43
-- side: source
-- severity: critical
-- since: 10
-- text: Extension {detail} is not supported (internal tables are not replicated)
-- hint: Drop the extension, or migrate with the tools that belong to it.
SELECT count(*), coalesce(string_agg('''' || extname || '''', ', ' ORDER BY extname), ''), (array_agg(extname::text ORDER BY extname))[1:10]
FROM pg_extension
WHERE extname IN ('timescaledb', 'citus', 'pglogical', 'pg_partman', 'pg_cron')
