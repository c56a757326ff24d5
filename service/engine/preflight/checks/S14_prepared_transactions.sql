-- id: S14
-- side: source
-- severity: critical
-- since: 10
-- text: Prepared transactions block the start of the replication ({count:transaction} found)
-- hint: Commit or roll back the prepared transactions.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT gid AS name FROM pg_prepared_xacts WHERE database = current_database()
) AS found
