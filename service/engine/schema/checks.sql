-- Check constraints of tables and domains that may look at more than the row: their functions are not immutable, or may read
-- tables although they say so. Parents come before those that inherit from them.
SELECT
    CASE WHEN k.contypid = 0
        THEN pg_catalog.format('TABLE %I.%I', cn.nspname, c.relname)
        ELSE pg_catalog.format('DOMAIN %I.%I', tn.nspname, t.typname)
    END,
    pg_catalog.quote_ident(k.conname),
    pg_catalog.pg_get_constraintdef(k.oid),
    coalesce(pg_catalog.quote_literal(pg_catalog.obj_description(k.oid, 'pg_constraint')), '')
FROM pg_catalog.pg_constraint AS k
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_type AS t ON t.oid = k.contypid
LEFT JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
WHERE k.contype = 'c'
  AND k.conislocal
  AND k.convalidated -- the others come after the data anyway
  AND coalesce(c.relkind, 'r') IN ('r', 'p')
  AND coalesce(cn.nspname, tn.nspname) !~ '^(pg_|_pgmig)'
  AND coalesce(cn.nspname, tn.nspname) <> 'information_schema'
  AND EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      JOIN pg_catalog.pg_proc AS p ON p.oid = d.refobjid
      JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
      WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
        AND d.objid = k.oid
        AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        AND l.lanname NOT IN ('internal', 'c')
        AND (p.provolatile <> 'i' OR p.prosrc = '' OR p.prosrc ~* '\mfrom\M'))
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.deptype = 'e'
        AND (d.classid, d.objid) IN (
            ('pg_catalog.pg_class'::pg_catalog.regclass, k.conrelid), ('pg_catalog.pg_type'::pg_catalog.regclass, k.contypid)))
ORDER BY k.coninhcount, k.oid
