-- The authorities of the collective, one row each that there ever was: which one signs, which ones are accepted.
-- Certificates are DER; one that does not exist is empty. The private keys are not here.
CREATE TABLE authorities (
    number INTEGER NOT NULL PRIMARY KEY,
    root TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    root_der BLOB NOT NULL,
    root_cross BLOB NOT NULL,
    issuing BLOB NOT NULL,
    issuing_cross BLOB NOT NULL,
    policy BLOB NOT NULL,
    prepared_at INTEGER NOT NULL,
    activated_at INTEGER,
    tainted_at INTEGER,
    revoked_at INTEGER,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX authorities_active ON authorities (state) WHERE state = 'active';

-- The root of the authority that issued a certificate.
ALTER TABLE certificates ADD COLUMN authority TEXT;
CREATE INDEX certificates_by_authority ON certificates (authority, purpose);

UPDATE schema_info SET current = 4;
