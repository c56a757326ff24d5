-- id: S64
-- side: source
-- severity: warning
-- since: 10
-- text: Row-level security policies refer to roles that must exist on the target ({count:policy|policies} found)
-- hint: See that these roles exist on the target.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(p.polname) AS name
    FROM {{user_tables}} t JOIN pg_policy p ON p.polrelid = t.oid
    WHERE p.polroles <> '{0}'
) AS found
