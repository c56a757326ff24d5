-- id: S37
-- side: source
-- severity: critical
-- since: 10
-- text: Functions in language C cannot be created on the target ({count:function} found)
-- hint: Drop these functions, or install the extension that they belong to.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT p.oid::regprocedure::text AS name
    FROM pg_proc p
        JOIN pg_language l ON l.oid = p.prolang
        JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE l.lanname IN ('c', 'internal') AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        -- An aggregate counts as internal, and a range type comes with its constructors.
        AND NOT EXISTS (SELECT 1 FROM pg_aggregate a WHERE a.aggfnoid = p.oid)
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
) AS found
