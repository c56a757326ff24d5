-- id: S90
-- side: source
-- severity: critical
-- since: 10
-- leaves: offline
-- text: Commits on the source wait for any standby (synchronous_standby_names is "{detail}"), and would wait for the migration, too
-- hint: Have synchronous_standby_names set to the names of the standbys.
SELECT CASE WHEN position('*' IN names) > 0 THEN 1 ELSE 0 END, names, NULL
FROM (SELECT current_setting('synchronous_standby_names') AS names) AS setting
