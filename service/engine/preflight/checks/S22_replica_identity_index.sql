-- id: S22
-- side: source
-- severity: critical
-- since: 10
-- only: logical
-- text: Replica identity index is not usable ({count:table} found)
-- hint: Set the replica identity of these tables anew.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE t.relkind = 'r' AND t.relreplident = 'i'
        AND NOT EXISTS (
            SELECT 1 FROM pg_index i
            WHERE i.indrelid = t.oid AND i.indisreplident AND i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL)
) AS found
