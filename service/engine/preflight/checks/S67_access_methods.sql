-- id: S67
-- side: source
-- severity: warning
-- since: 12
-- text: Tables use access method {detail} ({count:table} found)
-- hint: See that the target has the access method.
SELECT count(*), coalesce(string_agg(DISTINCT '''' || m.amname || '''', ', '), ''),
    (array_agg(t.oid::regclass::text ORDER BY t.oid::regclass::text))[1:10]
FROM {{user_tables}} t JOIN pg_am m ON m.oid = t.relam
WHERE m.amname <> 'heap'
