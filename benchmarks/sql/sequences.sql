SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, 0)
FROM pg_catalog.pg_sequences
WHERE schemaname !~ '^(pg_|_pgmig|pgcopydb)'
