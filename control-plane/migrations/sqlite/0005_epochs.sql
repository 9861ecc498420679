-- Restores and failovers: each began an epoch by a bump that the root signed.
CREATE TABLE epochs (
    epoch INTEGER NOT NULL PRIMARY KEY,
    incarnation TEXT NOT NULL,
    from_epoch INTEGER NOT NULL,
    from_incarnation TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    bump TEXT NOT NULL,
    begun_at INTEGER NOT NULL
) STRICT;

-- Which nodes have handed in what they knew, in which epoch; the version is that of the state which was read.
CREATE TABLE epoch_reports (
    epoch INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    incarnation TEXT,
    state_epoch INTEGER,
    number INTEGER,
    digest TEXT,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (epoch, node_id)
) STRICT;
CREATE INDEX epoch_reports_by_digest ON epoch_reports (epoch, digest);

UPDATE schema_info SET current = 5;
