-- id: S73
-- side: source
-- severity: critical
-- since: 10
-- text: Source database is read-only
-- hint: Have default_transaction_read_only set to off.
SELECT CASE WHEN current_setting('default_transaction_read_only') = 'on' THEN 1 ELSE 0 END, '', NULL::text[]
