-- id: S23
-- side: source
-- severity: warning
-- since: 10
-- text: Large objects are copied during the finalization ({count:object} found)
-- hint: Plan the time to read them all twice, in which the source cannot be written. Grants and comments on them are not migrated.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT oid::text AS name FROM pg_largeobject_metadata
) AS found
