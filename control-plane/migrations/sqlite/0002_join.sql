-- Join tokens, approvals by several people, and quotas of waiting requests.
-- The same tables, columns and names stand in ../postgres/0002_join.sql.
UPDATE schema_info SET current = 2;

-- A token is known by the public key that follows from its secret; the secret is nowhere.
CREATE TABLE join_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    public_key BLOB NOT NULL,
    capabilities TEXT NOT NULL,
    pool TEXT NOT NULL,
    site TEXT NOT NULL,
    name_pattern TEXT,
    address_pattern TEXT,
    uses INTEGER NOT NULL,
    used INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    reason TEXT,
    refused INTEGER NOT NULL,
    refused_at INTEGER,
    refused_why TEXT
) STRICT;
CREATE INDEX join_tokens_by_end ON join_tokens (expires_at);

-- Which node keys a token has let in: a retry of one of them is the same use.
CREATE TABLE join_token_uses (
    token_id TEXT NOT NULL REFERENCES join_tokens (id) ON DELETE CASCADE,
    node_key TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (token_id, node_key)
) STRICT;

-- The token that let the node in; the votes of approvers for the present transcript; the address prefix of the source.
ALTER TABLE joins ADD COLUMN token_id TEXT;
ALTER TABLE joins ADD COLUMN votes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE joins ADD COLUMN prefix TEXT NOT NULL DEFAULT '';
CREATE INDEX joins_waiting_by_prefix ON joins (prefix, source) WHERE state = 'pending';
CREATE INDEX joins_by_end ON joins (revealed_at);
