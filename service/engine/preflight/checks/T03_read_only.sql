-- id: T03
-- side: target
-- severity: critical
-- since: 10
-- text: Target database is read-only
-- hint: Use the address of the primary server, or have default_transaction_read_only set to off.
SELECT CASE WHEN pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' THEN 1 ELSE 0 END, '', NULL::text[]
