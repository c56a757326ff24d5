-- id: S68
-- side: source
-- severity: warning
-- since: 10
-- text: Database is large ({detail})
-- hint: Plan enough time for the copy.
SELECT CASE WHEN pg_database_size(current_database()) > 536870912000 THEN 1 ELSE 0 END, pg_size_pretty(pg_database_size(current_database())), NULL::text[]
