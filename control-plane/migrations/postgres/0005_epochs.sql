-- Restores and failovers: each began an epoch by a bump that the root signed.
CREATE TABLE epochs (
    epoch BIGINT NOT NULL PRIMARY KEY,
    incarnation TEXT NOT NULL,
    from_epoch BIGINT NOT NULL,
    from_incarnation TEXT NOT NULL,
    number BIGINT NOT NULL,
    digest TEXT NOT NULL,
    bump TEXT NOT NULL,
    begun_at BIGINT NOT NULL
);

-- Which nodes have handed in what they knew, in which epoch; the version is that of the state which was read.
CREATE TABLE epoch_reports (
    epoch BIGINT NOT NULL,
    node_id TEXT NOT NULL,
    incarnation TEXT,
    state_epoch BIGINT,
    number BIGINT,
    digest TEXT,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (epoch, node_id)
);
CREATE INDEX epoch_reports_by_digest ON epoch_reports (epoch, digest);

UPDATE schema_info SET current = 5;
