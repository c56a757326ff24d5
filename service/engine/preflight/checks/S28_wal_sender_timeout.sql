-- id: S28
-- side: source
-- severity: warning
-- since: 10
-- only: logical
-- text: Parameter wal_sender_timeout is {detail} s (recommended: 60 s or more)
-- hint: Have wal_sender_timeout raised.
SELECT CASE WHEN setting::bigint BETWEEN 1 AND 30000 THEN 1 ELSE 0 END, round(setting::numeric / 1000, 1)::float8::text, NULL::text[]
FROM pg_settings
WHERE name = 'wal_sender_timeout'
