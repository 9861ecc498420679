-- Small outputs of runs, and what short ones printed: they came in the outcome and are kept with it.

CREATE TABLE run_contents (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (run_id, digest)
);

UPDATE schema_info SET current = 9;
