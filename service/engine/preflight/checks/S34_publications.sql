-- id: S34
-- side: source
-- severity: warning
-- since: 10
-- text: Publications are not migrated ({count:publication} found)
-- hint: Create the publications on the target after the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT pubname::text AS name FROM pg_publication WHERE pubname NOT LIKE 'pgmig\_%'
) AS found
