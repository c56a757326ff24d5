-- id: S09
-- side: source
-- severity: critical
-- since: 10
-- text: Not enough free connections ({detail})
-- hint: Stop some instances of the applications or use a plan with more connections.
WITH sessions AS (
    SELECT datname, usename FROM pg_stat_activity
    WHERE datid IS NOT NULL AND usename IS NOT NULL AND pid <> pg_backend_pid()
)
SELECT CASE WHEN free < @connections::bigint THEN 1 ELSE 0 END,
    greatest(free, 0) || ' free, ' || @connections::bigint || ' needed', NULL::text[]
FROM (
    SELECT least(
        current_setting('max_connections')::bigint
            - current_setting('superuser_reserved_connections')::bigint
            - coalesce(current_setting('reserved_connections', true), '0')::bigint
            - (SELECT count(*) FROM sessions),
        nullif(d.datconnlimit, -1) - (SELECT count(*) FROM sessions WHERE datname = current_database()),
        nullif(r.rolconnlimit, -1) - (SELECT count(*) FROM sessions WHERE usename = session_user)
    ) AS free
    FROM pg_database d, pg_roles r
    WHERE d.datname = current_database() AND r.rolname = session_user
) AS limits
