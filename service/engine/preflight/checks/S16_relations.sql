-- id: S16
-- side: source
-- severity: critical
-- since: 10
-- text: Too many relations ({count} found, maximum is 30000)
-- hint: Drop tables and indexes that are not needed.
SELECT CASE WHEN count(*) > 30000 THEN count(*) ELSE 0 END, '', NULL::text[]
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'i', 'I', 'S', 'v', 'm') AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
