-- One schema for SQLite and PostgreSQL: only types and clauses that both know.
-- Times are microseconds since 1970-01-01 UTC; 0 is "not yet".

CREATE TABLE resource (
    id      TEXT   PRIMARY KEY, -- ARM id, lower case
    arm_id  TEXT   NOT NULL,    -- ARM id as it is shown
    type    TEXT   NOT NULL,    -- resource type, lower case
    parent  TEXT   NOT NULL,    -- what it is listed under, lower case
    etag    TEXT   NOT NULL,    -- changes with every write
    body    TEXT   NOT NULL,    -- JSON
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL
);
CREATE INDEX resource_parent ON resource (parent, type, created, id);
CREATE INDEX resource_type ON resource (type, id);

CREATE TABLE job (
    id          TEXT    PRIMARY KEY,
    kind        TEXT    NOT NULL, -- which mover runs it; '' when nothing runs
    operation   TEXT    NOT NULL, -- what its user sees: Backup, Restore, ConfigureBackup, ...
    scope       TEXT    NOT NULL, -- ARM id of the vault, lower case
    subject     TEXT    NOT NULL, -- ARM id of the item, as shown
    entity      TEXT    NOT NULL, -- friendly name of the item
    principal   TEXT    NOT NULL, -- who asked
    exclusive   TEXT,             -- while it runs, no other job may hold the same
    state       TEXT    NOT NULL,
    cancellable INTEGER NOT NULL,
    attempts    INTEGER NOT NULL, -- how many processes have begun it
    args        TEXT    NOT NULL, -- JSON
    result      TEXT    NOT NULL, -- JSON; null until it ended well
    report      TEXT    NOT NULL, -- JSON: tasks, properties, warnings, bytes
    failure     TEXT    NOT NULL, -- JSON: kind, target, message, hint; null unless it failed
    created     BIGINT  NOT NULL,
    ended       BIGINT  NOT NULL
);
CREATE UNIQUE INDEX job_exclusive ON job (exclusive) WHERE ended = 0;
CREATE INDEX job_scope ON job (scope, created, id);
CREATE INDEX job_subject ON job (subject, created);
