-- One row for each object whose change matters, with a value that changes when its definition does.
WITH tables AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p')
      AND c.relpersistence <> 't'
      AND n.nspname !~ '^(pg_|_pgmig)'
      AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
)
SELECT 'table', nspname || '.' || relname, relkind::text || relpersistence::text || oid::text
FROM tables
UNION ALL
SELECT 'column', t.nspname || '.' || t.relname || '.' || a.attname,
       a.attnum || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || a.attidentity::text
       || coalesce(pg_catalog.to_jsonb(a) ->> 'attgenerated', '')
       || coalesce(' ' || pg_catalog.md5(pg_catalog.pg_get_expr(d.adbin, d.adrelid)), '')
FROM pg_catalog.pg_attribute AS a
JOIN tables AS t ON t.oid = a.attrelid
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'index', n.nspname || '.' || x.relname, pg_catalog.pg_get_indexdef(i.indexrelid)
FROM pg_catalog.pg_index AS i
JOIN tables AS t ON t.oid = i.indrelid
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = x.relnamespace
UNION ALL
SELECT 'constraint', t.nspname || '.' || t.relname || '.' || k.conname, pg_catalog.pg_get_constraintdef(k.oid)
FROM pg_catalog.pg_constraint AS k
JOIN tables AS t ON t.oid = k.conrelid
WHERE k.contype <> 'n'
UNION ALL
SELECT 'trigger', t.nspname || '.' || t.relname || '.' || g.tgname, pg_catalog.pg_get_triggerdef(g.oid) || g.tgenabled::text
FROM pg_catalog.pg_trigger AS g
JOIN tables AS t ON t.oid = g.tgrelid
WHERE NOT g.tgisinternal AND g.tgname !~ '^_pgmig'
UNION ALL
SELECT 'function', n.nspname || '.' || p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
       pg_catalog.md5(coalesce(p.prosrc, '') || coalesce(pg_catalog.to_jsonb(p) ->> 'prosqlbody', ''))
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, n.nspname || '.' || c.relname,
       pg_catalog.md5(pg_catalog.pg_get_viewdef(c.oid))
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm')
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'sequence', n.nspname || '.' || c.relname, c.oid::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'S'
  AND c.relpersistence <> 't'
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'enum value', n.nspname || '.' || t.typname || '.' || e.enumlabel, e.enumsortorder::text
FROM pg_catalog.pg_enum AS e
JOIN pg_catalog.pg_type AS t ON t.oid = e.enumtypid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
UNION ALL
SELECT 'type', n.nspname || '.' || t.typname,
       t.typtype::text || t.typbasetype::text || t.typnotnull || coalesce(t.typdefault, '')
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
WHERE t.typtype IN ('d', 'e', 'r')
  AND n.nspname !~ '^(pg_|_pgmig)'
  AND n.nspname <> 'information_schema'
