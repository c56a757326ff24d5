-- id: S60
-- side: source
-- severity: warning
-- since: 10
-- text: Database settings are not migrated ({count:setting} found)
-- hint: Set them on the target with ALTER DATABASE ... SET.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT split_part(setting, '=', 1) AS name
    FROM pg_db_role_setting s
        JOIN pg_database b ON b.oid = s.setdatabase
        CROSS JOIN LATERAL unnest(s.setconfig) AS config(setting)
    WHERE b.datname = current_database() AND s.setrole = 0 AND setting NOT LIKE 'role=%'
) AS found
