-- The authorities of the collective, one row each that there ever was: which one signs, which ones are accepted.
-- Certificates are DER; one that does not exist is empty. The private keys are not here.
CREATE TABLE authorities (
    number BIGINT NOT NULL PRIMARY KEY,
    root TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    root_der BYTEA NOT NULL,
    root_cross BYTEA NOT NULL,
    issuing BYTEA NOT NULL,
    issuing_cross BYTEA NOT NULL,
    policy BYTEA NOT NULL,
    prepared_at BIGINT NOT NULL,
    activated_at BIGINT,
    tainted_at BIGINT,
    revoked_at BIGINT,
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX authorities_active ON authorities (state) WHERE state = 'active';

-- The root of the authority that issued a certificate.
ALTER TABLE certificates ADD COLUMN authority TEXT;
CREATE INDEX certificates_by_authority ON certificates (authority, purpose);

UPDATE schema_info SET current = 4;
