-- Revocation lists that were published, the latest of each issuing key; and certificates that a reset deleted, which
-- stay known as revoked but are shown no longer.

CREATE TABLE revocation_lists (
    issuer TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    content TEXT NOT NULL,
    this_update BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    der BYTEA NOT NULL
);

DROP INDEX certificates_revoked;
CREATE INDEX certificates_ended ON certificates (not_after) WHERE state <> 'valid';

UPDATE schema_info SET current = 6;
