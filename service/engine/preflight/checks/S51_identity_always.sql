-- id: S51
-- side: source
-- severity: warning
-- since: 10
-- text: Identity columns GENERATED ALWAYS are changed to BY DEFAULT until the finalization ({count:column} found)
-- hint: Nothing needs to be done.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(a.attname) AS name
    FROM {{user_tables}} t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.attidentity = 'a'
) AS found
