-- id: S29
-- side: source
-- severity: warning
-- since: 13
-- only: logical
-- text: Parameter logical_decoding_work_mem is {detail} (recommended: 64 MB or more)
-- hint: Have logical_decoding_work_mem raised.
SELECT CASE WHEN setting::bigint < 65536 THEN 1 ELSE 0 END, pg_size_pretty(setting::bigint * 1024), NULL::text[]
FROM pg_settings
WHERE name = 'logical_decoding_work_mem'
