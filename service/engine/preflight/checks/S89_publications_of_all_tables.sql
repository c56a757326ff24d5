-- id: S89
-- side: source
-- severity: critical
-- since: 10
-- text: A publication FOR ALL TABLES publishes the tables that the migration needs on the source, at which its subscribers stop ({count:publication} found)
-- hint: Replace the publications by some that name their tables or schemas, or drop them.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT pubname::text AS name FROM pg_publication WHERE puballtables AND pubname NOT LIKE 'pgmig\_%'
) AS found
