-- id: S49
-- side: source
-- severity: warning
-- since: 10
-- text: Columns with object identifiers need the object on the target ({count:column} found)
-- hint: See that these columns hold names of objects that are migrated.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(a.attname) AS name
    FROM {{user_tables}} t
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type y ON y.oid = a.atttypid
    WHERE y.typnamespace = 'pg_catalog'::regnamespace AND y.typname LIKE 'reg%'
) AS found
