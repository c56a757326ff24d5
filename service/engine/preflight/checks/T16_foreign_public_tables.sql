-- id: T16
-- side: target
-- severity: critical
-- since: 10
-- text: Schema public holds tables of another owner ({count:table} found)
-- hint: Use a new service instance as the target.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT pg_has_role(current_user, c.relowner, 'USAGE')
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
) AS found
