-- id: S48
-- side: source
-- severity: warning
-- since: 10
-- text: Columns of type money depend on lc_monetary ({count:column} found)
-- hint: See that lc_monetary is the same on the target, or use numeric.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(a.attname) AS name
    FROM {{user_tables}} t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.atttypid = 'money'::regtype
) AS found
