-- id: S23
-- side: source
-- severity: critical
-- since: 10
-- text: Large objects cannot be migrated yet ({count:object} found)
-- hint: Move the contents to columns of type bytea and remove the large objects with lo_unlink.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT oid::text AS name FROM pg_largeobject_metadata
) AS found
