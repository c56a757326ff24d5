-- id: S14
-- side: source
-- severity: critical
-- since: 10
-- only: logical
-- text: Prepared transactions block the start of the replication ({count:transaction} found)
-- hint: Commit or roll back the prepared transactions, also those of other databases of the server.
-- note: A replication slot waits for the transactions of the whole server.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT gid || CASE WHEN database = current_database() THEN '' ELSE ' in database ' || quote_ident(database) END AS name
    FROM pg_prepared_xacts
) AS found
