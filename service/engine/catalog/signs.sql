-- What says, without the stream, that a table may have been changed: another file, or other counters of written rows. Sessions
-- tell the counters late, and a crash takes them back: they show what is not seen otherwise, and prove nothing alone.
SELECT
    c.oid,
    coalesce(pg_catalog.pg_relation_filenode(c.oid), 0),
    pg_catalog.pg_stat_get_tuples_inserted(c.oid)
        + pg_catalog.pg_stat_get_tuples_updated(c.oid)
        + pg_catalog.pg_stat_get_tuples_deleted(c.oid)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
