package preflight

// What the comparison of both databases asks each of them, as far as it takes more than a line.
const (
	// systemSQL tells databases apart. The server's start does it for a copy of its files, which
	// has the same system identifier.
	systemSQL = `
SELECT c.system_identifier || ' ' || (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint || ' ' || d.oid
FROM pg_control_system() c, pg_database d
WHERE d.datname = current_database()`

	// Columns that only some versions have are read by way of JSON.
	localeSQL = `
SELECT pg_encoding_to_char(d.encoding),
    CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')
        WHEN 'c' THEN CASE WHEN d.datcollate = d.datctype THEN d.datcollate::text ELSE d.datcollate || '/' || d.datctype END
        WHEN 'i' THEN 'icu:' || coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
        ELSE 'builtin:' || (to_jsonb(d) ->> 'datlocale')
    END
FROM pg_database d
WHERE d.datname = current_database()`

	untrustedSQL = `
SELECT coalesce(array_agg(DISTINCT a.name::text), '{}')
FROM pg_available_extension_versions v
    JOIN pg_available_extensions a ON a.name = v.name AND a.default_version = v.version
WHERE v.superuser AND NOT coalesce((to_jsonb(v) ->> 'trusted')::boolean, false) AND a.installed_version IS NULL
    AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)`

	// namesSQL gives the names of the relations with indexes and sequences, types and functions that
	// are taken on the target, or will be taken by what comes from the source. Members of extensions
	// do not come from there.
	namesSQL = `
WITH members AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND NOT @target::boolean
), relations AS (
    SELECT c.oid, c.relkind, c.reltype
    FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relkind <> 't' AND c.relpersistence <> 't'
        AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND (c.oid NOT IN (SELECT objid FROM members WHERE classid = 'pg_class'::regclass))
        AND (i.indrelid IS NULL OR i.indrelid NOT IN (SELECT objid FROM members WHERE classid = 'pg_class'::regclass))
)
SELECT coalesce(array_agg(name), '{}')
FROM (
    SELECT 'relation ' || r.oid::regclass AS name
    FROM relations r
    WHERE r.relkind <> 'c'
    UNION ALL
    SELECT 'type ' || r.reltype::regtype
    FROM relations r
    WHERE r.reltype <> 0
    UNION ALL
    SELECT 'type ' || t.oid::regtype
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('b', 'd', 'e', 'r') AND t.typelem = 0
        AND n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND t.oid NOT IN (SELECT objid FROM members WHERE classid = 'pg_type'::regclass)
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
        AND p.oid NOT IN (SELECT objid FROM members WHERE classid = 'pg_proc'::regclass)
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
) AS taken`

	schemasSQL = `
SELECT coalesce(array_agg(n.nspname::text), '{}'),
    coalesce(array_agg(n.nspname::text) FILTER (WHERE has_schema_privilege(n.oid, 'CREATE')), '{}')
FROM pg_namespace n
WHERE n.nspname !~ '^(pg_|_pgmig)' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')`

	policyRolesSQL = `
SELECT coalesce(array_agg(pg_get_userbyid(r)::text), '{}')
FROM pg_policy p, unnest(p.polroles) AS r
WHERE r <> 0`

	mappingRolesSQL = `
SELECT coalesce(array_agg(usename::text), '{}')
FROM pg_user_mappings
WHERE umuser <> 0`

	serverWrappersSQL = `
SELECT coalesce(array_agg(w.fdwname::text), '{}')
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw`

	usableWrappersSQL = `
SELECT coalesce(array_agg(w.fdwname::text), '{}')
FROM pg_foreign_data_wrapper w
WHERE has_foreign_data_wrapper_privilege(w.oid, 'USAGE')`

	// removedSQL finds what later versions do not know, each with the version that does not: the release
	// notes of 12 and 14 name it.
	removedSQL = `
SELECT coalesce(array_agg(name ORDER BY name), '{}'), coalesce(array_agg(version ORDER BY name), '{}')
FROM (
    SELECT 'pg_class'::regclass AS class, c.oid, 'column ' || c.oid::regclass || '.' || quote_ident(a.attname) AS name, 12 AS version
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.relkind IN ('r', 'p', 'c', 'v', 'm', 'f') AND c.relpersistence <> 't' AND NOT a.attisdropped AND a.attnum > 0
        AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typname ~ '^_?(abstime|reltime|tinterval)$'
    UNION ALL
    SELECT 'pg_operator'::regclass, o.oid, 'postfix operator ' || o.oid::regoperator, 14
    FROM pg_operator o
    WHERE o.oprright = 0
    UNION ALL
    SELECT 'pg_operator'::regclass, o.oid, 'operator ' || o.oid::regoperator, 14
    FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^(array_(append|cat|prepend|positions?|remove|replace)|width_bucket)$'
        AND 'anyarray'::regtype IN (o.oprleft, o.oprright)
    UNION ALL
    SELECT 'pg_proc'::regclass, g.aggfnoid, 'aggregate ' || g.aggfnoid::regprocedure, 14
    FROM pg_aggregate g JOIN pg_proc p ON p.oid = g.aggtransfn
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^array_(append|cat|prepend)$' AND g.aggtranstype = 'anyarray'::regtype
) AS objects
WHERE oid >= 16384
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = objects.class AND d.objid = objects.oid AND d.deptype = 'e')`

	// openingLocksSQL counts what the transaction that opens the target locks: the tables that get foreign keys, triggers,
	// rules, policies, or identities back, with their indexes and identity columns' sequences.
	openingLocksSQL = `
WITH changed AS (
    SELECT conrelid AS oid FROM pg_constraint WHERE contype = 'f'
    UNION
    SELECT confrelid FROM pg_constraint WHERE contype = 'f'
    UNION
    SELECT tgrelid FROM pg_trigger WHERE NOT tgisinternal
    UNION
    SELECT ev_class FROM pg_rewrite WHERE ev_type <> '1' AND ev_class >= 16384 -- the server has rules of its own
    UNION
    SELECT polrelid FROM pg_policy
    UNION
    SELECT attrelid FROM pg_attribute WHERE attidentity = 'a'
    UNION
    SELECT t.oid FROM ` + userTables + ` t
    WHERE t.relkind = 'r' AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)
)
SELECT (SELECT count(*) FROM changed)
    + (SELECT count(*) FROM pg_index i JOIN changed c ON c.oid = i.indrelid)
    + (SELECT count(*) FROM pg_attribute WHERE attidentity = 'a')`

	lockTableSQL = `
SELECT current_setting('max_locks_per_transaction')::bigint,
    current_setting('max_connections')::bigint
        + current_setting('max_prepared_transactions')::bigint
        + current_setting('max_worker_processes')::bigint
        + current_setting('max_wal_senders')::bigint
        + coalesce(current_setting('autovacuum_worker_slots', true), current_setting('autovacuum_max_workers'))::bigint`

	// superuserObjectsSQL finds what the manual's CREATE statements reserve for superusers. C functions,
	// base types and extensions have checks of their own; objects below 16384 belong to the server.
	superuserObjectsSQL = `
SELECT coalesce(array_agg(kind || ' ' || name ORDER BY kind, name), '{}')
FROM (
    SELECT 'pg_foreign_data_wrapper'::regclass AS class, oid, 'foreign data wrapper' AS kind, quote_ident(fdwname) AS name
    FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'pg_am'::regclass, oid, 'access method', quote_ident(amname)
    FROM pg_am
    UNION ALL
    SELECT 'pg_opclass'::regclass, c.oid, 'operator class', quote_ident(n.nspname) || '.' || quote_ident(c.opcname)
    FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace
    UNION ALL
    SELECT 'pg_opfamily'::regclass, f.oid, 'operator family', quote_ident(n.nspname) || '.' || quote_ident(f.opfname)
    FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace
    UNION ALL
    SELECT 'pg_ts_parser'::regclass, p.oid, 'text search parser', quote_ident(n.nspname) || '.' || quote_ident(p.prsname)
    FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace
    UNION ALL
    SELECT 'pg_ts_template'::regclass, t.oid, 'text search template', quote_ident(n.nspname) || '.' || quote_ident(t.tmplname)
    FROM pg_ts_template t JOIN pg_namespace n ON n.oid = t.tmplnamespace
    UNION ALL
    SELECT 'pg_cast'::regclass, oid, 'cast', castsource::regtype || ' AS ' || casttarget::regtype
    FROM pg_cast
    WHERE castmethod = 'b'
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, 'leakproof function', p.oid::regprocedure::text
    FROM pg_proc p
    WHERE p.proleakproof
) AS objects
WHERE oid >= 16384
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = objects.class AND d.objid = objects.oid AND d.deptype IN ('e', 'i'))`
)
