-- id: S29
-- side: source
-- severity: warning
-- since: 13
-- text: Parameter logical_decoding_work_mem is {detail} kB (recommended: 65536 kB or more)
-- hint: Have logical_decoding_work_mem raised.
SELECT CASE WHEN setting::bigint < 65536 THEN 1 ELSE 0 END, setting, NULL::text[]
FROM pg_settings
WHERE name = 'logical_decoding_work_mem'
