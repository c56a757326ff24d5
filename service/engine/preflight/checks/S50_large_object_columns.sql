-- id: S50
-- side: source
-- severity: warning
-- since: 10
-- text: Columns may refer to large objects ({count:column} found)
-- hint: Large objects keep their numbers on the target. See that these columns do not refer to other objects by number.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(a.attname) AS name
    FROM {{user_tables}} t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.atttypid = 'oid'::regtype OR a.atttypid IN (SELECT oid FROM pg_type WHERE typname = 'lo')
) AS found
