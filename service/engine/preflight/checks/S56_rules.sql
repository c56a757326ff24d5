-- id: S56
-- side: source
-- severity: warning
-- since: 10
-- text: Rules on tables are created during the finalization ({count:rule} found)
-- hint: Nothing needs to be done.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(r.rulename) AS name
    FROM {{user_tables}} t JOIN pg_rewrite r ON r.ev_class = t.oid
    WHERE r.ev_type <> '1'
) AS found
