-- id: S65
-- side: source
-- severity: warning
-- since: 10
-- text: Tablespaces are not kept ({count:table or index|tables and indexes} found)
-- hint: Nothing needs to be done.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND c.reltablespace <> 0
        AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
) AS found
