-- The end of what runs print, and what they said last about how far they are. Their outcomes hold the truth.

CREATE TABLE run_output (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream TEXT NOT NULL,
    begins INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    at INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (run_id, stream, begins)
) STRICT;
CREATE INDEX run_output_by_age ON run_output (at);

CREATE TABLE run_progress (
    run_id TEXT NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    millionths INTEGER,
    words TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX run_progress_by_age ON run_progress (at);

-- How many runs of one user wait.
CREATE INDEX runs_queued_by_user ON runs (user_id) WHERE state = 'queued';

UPDATE schema_info SET current = 7;
