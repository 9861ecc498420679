-- Who decided what of the trust state, when, and with which words: for entries whose signed form has no room for it.

CREATE TABLE trust_reasons (
    entry_key TEXT NOT NULL PRIMARY KEY,
    reason TEXT,
    decided_by TEXT NOT NULL,
    decided_at INTEGER NOT NULL
) STRICT;

UPDATE schema_info SET current = 10;
