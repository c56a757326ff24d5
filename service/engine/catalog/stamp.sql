-- A sum over all rows of the catalogs that a schema is made of, without those of ours: any change of the schema makes new
-- versions of rows or removes some.
SELECT pg_catalog.string_agg(version, ' ' ORDER BY version)
FROM (
    SELECT 'relations ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) AS version FROM pg_catalog.pg_class
    UNION ALL
    SELECT 'columns ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_attribute
    UNION ALL
    SELECT 'defaults ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_attrdef
    UNION ALL
    SELECT 'indexes ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_index
    UNION ALL
    SELECT 'constraints ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_constraint
    UNION ALL
    SELECT 'triggers ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_trigger
    UNION ALL
    SELECT 'rules ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_rewrite
    UNION ALL
    SELECT 'functions ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(p.xmin::text || p.ctid::text)), 0)
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname !~ '^_pgmig'
    UNION ALL
    SELECT 'types ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_type
    UNION ALL
    SELECT 'enum values ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_enum
    UNION ALL
    SELECT 'schemas ' || pg_catalog.count(*) || ':' || coalesce(pg_catalog.sum(pg_catalog.hashtext(xmin::text || ctid::text)), 0) FROM pg_catalog.pg_namespace
) AS versions
