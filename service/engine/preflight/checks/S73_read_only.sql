-- id: S73
-- side: source
-- severity: critical
-- since: 10
-- text: Source database is read-only
-- hint: Set default_transaction_read_only to off for the database and the login with ALTER DATABASE and ALTER ROLE.
-- note: Our own sessions override the setting, so it is looked up where it is stored; the most special one counts.
SELECT CASE WHEN (
        SELECT lower(split_part(setting, '=', 2)) IN ('on', 'true', 'yes', '1')
        FROM pg_db_role_setting s
            CROSS JOIN LATERAL unnest(s.setconfig) AS config(setting)
            LEFT JOIN pg_database b ON b.oid = s.setdatabase
            LEFT JOIN pg_roles r ON r.oid = s.setrole
        WHERE setting LIKE 'default_transaction_read_only=%'
            AND (s.setdatabase = 0 OR b.datname = current_database())
            AND (s.setrole = 0 OR r.rolname = session_user)
        ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
        LIMIT 1
    ) THEN 1 ELSE 0 END, '', NULL::text[]
