-- id: S87
-- side: source
-- severity: warning
-- since: 10
-- text: Tables WITH OIDS lose their hidden column oid ({count:table} found)
-- hint: Copy the column oid of these tables into a column of its own if an application reads it.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass::text AS name
    FROM {{user_tables}} t
    WHERE EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum < 0 AND a.attname = 'oid')
) AS found
