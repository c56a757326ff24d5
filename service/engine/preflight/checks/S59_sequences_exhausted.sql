-- id: S59
-- side: source
-- severity: warning
-- since: 10
-- text: Sequences are almost exhausted ({count:sequence} found)
-- hint: Change these sequences and their columns to bigint.
-- note: Looking at last_value locks the sequence until the statement ends, so that thousands would fill the lock table.
SELECT count(*), '', (array_agg(name ORDER BY name))[1:10]
FROM (
    SELECT quote_ident(n.schemaname) || '.' || quote_ident(n.sequencename) AS name
    FROM pg_sequences n
    WHERE n.last_value > 0.9 * n.max_value AND n.increment_by > 0 AND NOT n.cycle
        AND n.schemaname !~ '^(pg_|_pgmig)'
        AND (SELECT count(*) FROM pg_sequence) <= 1000
) AS found
