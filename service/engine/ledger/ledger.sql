CREATE SCHEMA _pgmig;

-- One row; fillfactor leaves room for its updates on the page.
CREATE TABLE _pgmig.progress (
    id int PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    migration text NOT NULL,
    epoch bigint NOT NULL,
    stage text NOT NULL,
    method text NOT NULL,
    method_reason text NOT NULL,
    commit_lsn pg_lsn NOT NULL DEFAULT '0/0',
    committed_at timestamptz,
    source_system text NOT NULL,
    source_timeline int NOT NULL,
    flushed_lsn pg_lsn, -- the source is never told of more than this
    beat bigint NOT NULL DEFAULT 0, -- number of the newest heartbeat that is applied
    drop_statements text NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE _pgmig.tables (
    relation oid PRIMARY KEY,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    deferred boolean NOT NULL,
    copy_lsn pg_lsn,
    again int NOT NULL DEFAULT 0, -- how often the table was found different from the source
    rewritten int NOT NULL DEFAULT 0, -- how often the source truncated or rewrote it, so that its copy is of no use
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0
);

-- The entries of the schema copy.
CREATE TABLE _pgmig.entries (
    position int PRIMARY KEY,
    before_data boolean NOT NULL,
    kind text NOT NULL,
    schema_name text NOT NULL,
    name text NOT NULL,
    statements text NOT NULL,
    done boolean NOT NULL DEFAULT false
);

-- Check constraints that are taken off until the finalization.
CREATE TABLE _pgmig.checks (
    position int PRIMARY KEY,
    owner text NOT NULL,
    name text NOT NULL,
    definition text NOT NULL,
    comment text NOT NULL
);

CREATE TABLE _pgmig.fingerprint (
    object text PRIMARY KEY,
    value text NOT NULL
);

-- The large objects that were made here; no other one is ever changed.
CREATE TABLE _pgmig.large_objects (
    object oid PRIMARY KEY
);
