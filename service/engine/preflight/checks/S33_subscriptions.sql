-- id: S33
-- side: source
-- severity: warning
-- since: 10
-- text: Subscriptions are not migrated ({count:subscription} found)
-- hint: Create the subscriptions on the target after the migration.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT s.subname::text AS name
    FROM pg_subscription s JOIN pg_database b ON b.oid = s.subdbid
    WHERE b.datname = current_database()
) AS found
