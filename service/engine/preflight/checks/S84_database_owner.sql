-- id: S84
-- side: source
-- severity: warning
-- since: 10
-- text: Login does not own the source database (only table locks keep writers off during the finalization)
-- hint: Stop all applications before the finalization, or use a login that owns the database.
SELECT count(*), '', NULL::text[]
FROM pg_database
WHERE datname = current_database() AND NOT pg_has_role(datdba, 'USAGE')
