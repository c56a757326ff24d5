-- id: T11
-- side: target
-- severity: warning
-- since: 10
-- text: Autovacuum is off on the target
-- hint: Have autovacuum switched on.
SELECT CASE WHEN current_setting('autovacuum') = 'off' THEN 1 ELSE 0 END, '', NULL::text[]
