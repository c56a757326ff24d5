-- id: S17
-- side: source
-- severity: critical
-- since: 10
-- text: Too many schemas ({count} found, maximum is 1000)
-- hint: Drop schemas that are not needed.
SELECT CASE WHEN count(*) > 1000 THEN count(*) ELSE 0 END, '', NULL::text[]
FROM pg_namespace n
WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
