-- Who changed what, when, from where, and what came of it. Rows are added and
-- never changed.
CREATE TABLE audit (
    id           TEXT    PRIMARY KEY,
    at           BIGINT  NOT NULL, -- microseconds since 1970-01-01 UTC
    request      TEXT    NOT NULL, -- correlation id
    principal    TEXT    NOT NULL, -- object id; '' when nobody signed in
    name         TEXT    NOT NULL, -- the principal's name then
    source       TEXT    NOT NULL, -- network address
    action       TEXT    NOT NULL,
    resource     TEXT    NOT NULL, -- ARM id, as asked for
    subscription TEXT    NOT NULL, -- lower case; '' for what lies in none
    status       INTEGER NOT NULL, -- HTTP
    code         TEXT    NOT NULL  -- of a refusal
);
CREATE INDEX audit_at ON audit (subscription, at, id);
