-- id: S12
-- side: source
-- severity: critical
-- since: 10
-- text: Login has no CREATE privilege on the database
-- hint: Grant CREATE on the database to the login.
SELECT CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') THEN 1 ELSE 0 END, '', NULL::text[]
