-- One row a migration. A source takes part in one migration at a time, and so does a target.
CREATE TABLE migrations (
    id text PRIMARY KEY,
    source_guid text NOT NULL CONSTRAINT one_migration_a_source UNIQUE,
    target_guid text NOT NULL CONSTRAINT one_migration_a_target UNIQUE,
    names jsonb NOT NULL,
    credentials bytea, -- sealed; null when the migration has ended

    replication_status text NOT NULL,
    replication_failure jsonb,
    replication_progress jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,

    finalization_status text, -- null: there is none
    finalization_failure jsonb,
    finalization_progress jsonb,
    finalization_started_at timestamptz,
    finalization_finished_at timestamptz,
    finalization_cancelled boolean NOT NULL DEFAULT false,
    opened boolean NOT NULL DEFAULT false, -- the target is the truth: no way back

    removal_requested boolean NOT NULL DEFAULT false,
    clean_target boolean NOT NULL DEFAULT false,

    -- The worker that holds the lease is the only one at work; epoch counts the workers.
    epoch bigint NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    queued_at timestamptz NOT NULL DEFAULT now()
);

-- What happened to a migration; rows are added and never changed. They outlive the migration.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    event text NOT NULL,
    detail text NOT NULL DEFAULT ''
);

CREATE INDEX events_migration_id ON events (migration_id, id);
