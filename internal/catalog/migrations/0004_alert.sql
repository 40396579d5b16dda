-- What somebody has to know who isn't looking, and whom it was brought to.
CREATE TABLE alert (
    id       TEXT   PRIMARY KEY,
    about    TEXT   NOT NULL, -- of what is open only one alert speaks
    resource TEXT   NOT NULL, -- ARM id, lower case
    body     TEXT   NOT NULL, -- JSON: holdfast.Alert
    created  BIGINT NOT NULL, -- microseconds since 1970-01-01 UTC
    resolved BIGINT NOT NULL  -- 0: it is open
);
CREATE UNIQUE INDEX alert_about ON alert (about) WHERE resolved = 0;
CREATE INDEX alert_created ON alert (created, id);

CREATE TABLE delivery (
    alert    TEXT    NOT NULL,
    channel  TEXT    NOT NULL, -- webhook or mail
    state    TEXT    NOT NULL, -- Fired or Resolved: what is told
    tries    INTEGER NOT NULL,
    created  BIGINT  NOT NULL,
    due      BIGINT  NOT NULL, -- not tried before
    ended    BIGINT  NOT NULL, -- taken or given up; 0: neither
    error    TEXT    NOT NULL, -- of the last try; '' when it was taken
    PRIMARY KEY (alert, channel, state)
);
CREATE INDEX delivery_due ON delivery (due) WHERE ended = 0;
