-- id: S04
-- side: source
-- severity: critical
-- since: 10
-- text: Source is a read-only standby
-- hint: Use the address of the primary server.
SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END, '', NULL::text[]
