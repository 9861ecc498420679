-- Revocation lists that were published, the latest of each issuing key; and certificates that a reset deleted, which
-- stay known as revoked but are shown no longer.

CREATE TABLE revocation_lists (
    issuer TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    content TEXT NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der BLOB NOT NULL
) STRICT;

DROP INDEX certificates_revoked;
CREATE INDEX certificates_ended ON certificates (not_after) WHERE state <> 'valid';

UPDATE schema_info SET current = 6;
