-- id: S54
-- side: source
-- severity: warning
-- since: 10
-- text: Constraints are not validated ({count:constraint} found)
-- hint: Validate them with ALTER TABLE ... VALIDATE CONSTRAINT.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT t.oid::regclass || '.' || quote_ident(k.conname) AS name
    FROM {{user_tables}} t JOIN pg_constraint k ON k.conrelid = t.oid
    WHERE NOT k.convalidated
) AS found
