-- id: S47
-- side: source
-- severity: warning
-- since: 10
-- text: User-defined collations must exist on the target ({count:collation} found)
-- hint: See that the target's operating system knows their locales.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS name
    FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_collation'::regclass AND d.objid = c.oid AND d.deptype = 'e')
) AS found
