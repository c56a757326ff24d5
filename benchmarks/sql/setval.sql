-- The statements that bring the sequences of another database to where this one's stand.
SELECT format('SELECT setval(%L, %s)', format('%I.%I', schemaname, sequencename), last_value)
FROM pg_catalog.pg_sequences
WHERE last_value IS NOT NULL
