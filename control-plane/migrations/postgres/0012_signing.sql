-- The roots that signatures of items may lead to: the collective's own, which signs, and imported ones. One that is removed
-- stays as a row. Certificates are DER, private keys are sealed; what does not exist is empty.
CREATE TABLE signing_roots (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    subject TEXT NOT NULL,
    der BYTEA NOT NULL,
    sealed_key BYTEA NOT NULL,
    stamp_der BYTEA NOT NULL,
    sealed_stamp_key BYTEA NOT NULL,
    added_by TEXT NOT NULL,
    added_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX signing_roots_internal ON signing_roots (origin) WHERE origin = 'internal' AND state = 'accepted';

-- Certificates of those who sign items: of users, issued here, and of other authorities, imported.
CREATE TABLE signing_certificates (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    serial TEXT NOT NULL,
    subject TEXT NOT NULL,
    root TEXT,
    user_id TEXT,
    der BYTEA NOT NULL,
    sealed_key BYTEA NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    state TEXT NOT NULL,
    added_by TEXT NOT NULL,
    added_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX signing_certificates_by_number ON signing_certificates (issuer, serial);
CREATE INDEX signing_certificates_by_user ON signing_certificates (user_id, not_after);

-- Signatures of versions of items, by the digest of the signature, with all that it takes to verify them.
CREATE TABLE item_signatures (
    id TEXT NOT NULL PRIMARY KEY,
    item_type TEXT NOT NULL,
    hash TEXT NOT NULL,
    certificate TEXT NOT NULL,
    signed_by TEXT NOT NULL,
    signed_at BIGINT NOT NULL,
    bundle TEXT NOT NULL
);
CREATE INDEX item_signatures_by_hash ON item_signatures (hash, item_type, signed_at);

UPDATE schema_info SET current = 12;
