-- id: S57
-- side: source
-- severity: warning
-- since: 10
-- text: Triggers ENABLE ALWAYS or REPLICA ({count:trigger} found)
-- hint: See that these triggers do not change replicated data on the target.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(g.tgname) AS name
    FROM {{user_tables}} t JOIN pg_trigger g ON g.tgrelid = t.oid
    WHERE NOT g.tgisinternal AND g.tgenabled IN ('A', 'R')
) AS found
