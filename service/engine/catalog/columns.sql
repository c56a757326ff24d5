-- Columns of all tables that hold rows. attgenerated exists from 12 on, hence the detour over JSON.
SELECT
    a.attrelid,
    a.attnum,
    a.attname,
    a.atttypid,
    CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END,
    pg_catalog.format_type(a.atttypid, a.atttypmod),
    coalesce(pg_catalog.to_jsonb(a) ->> 'attgenerated', '') <> ''
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE c.relkind = 'r'
  AND a.attnum > 0
  AND NOT a.attisdropped
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
ORDER BY a.attrelid, a.attnum
