-- The end of what runs print, and what they said last about how far they are. Their outcomes hold the truth.

CREATE TABLE run_output (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream TEXT NOT NULL,
    begins BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    at BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (run_id, stream, begins)
);
CREATE INDEX run_output_by_age ON run_output (at);

CREATE TABLE run_progress (
    run_id TEXT NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    millionths BIGINT,
    words TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX run_progress_by_age ON run_progress (at);

-- How many runs of one user wait.
CREATE INDEX runs_queued_by_user ON runs (user_id) WHERE state = 'queued';

UPDATE schema_info SET current = 7;
