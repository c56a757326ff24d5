-- id: S53
-- side: source
-- severity: warning
-- since: 10
-- text: Invalid indexes are not migrated ({count:index|indexes} found)
-- hint: Drop these indexes or repair them with REINDEX.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT (i.indisvalid AND i.indisready)
        AND c.relkind = 'i' -- that of a partitioned table is invalid as long as a partition lacks it, and is migrated so
        AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
) AS found
