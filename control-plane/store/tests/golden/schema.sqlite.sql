CREATE TABLE audit (
    writer TEXT NOT NULL REFERENCES audit_heads (writer),
    sequence INTEGER NOT NULL,
    previous TEXT NOT NULL,
    record TEXT NOT NULL,
    hash TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (writer, sequence)
) STRICT;
CREATE INDEX audit_by_time ON audit (at, writer, sequence);
CREATE TABLE audit_heads (
    writer TEXT NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;
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
CREATE TABLE certificates (
    serial TEXT NOT NULL PRIMARY KEY,
    subject_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    der BLOB NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    state TEXT NOT NULL,
    revoked_at INTEGER,
    reason TEXT
, key TEXT, generation INTEGER NOT NULL DEFAULT 1, authority TEXT) STRICT;
CREATE INDEX certificates_by_authority ON certificates (authority, purpose);
CREATE INDEX certificates_by_key ON certificates (key) WHERE purpose = 'node';
CREATE INDEX certificates_by_subject ON certificates (subject_id);
CREATE INDEX certificates_ended ON certificates (not_after) WHERE state <> 'valid';
CREATE TABLE control_planes (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    addresses TEXT NOT NULL
) STRICT;
CREATE TABLE epoch_reports (
    epoch INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    incarnation TEXT,
    state_epoch INTEGER,
    number INTEGER,
    digest TEXT,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (epoch, node_id)
) STRICT;
CREATE INDEX epoch_reports_by_digest ON epoch_reports (epoch, digest);
CREATE TABLE epochs (
    epoch INTEGER NOT NULL PRIMARY KEY,
    incarnation TEXT NOT NULL,
    from_epoch INTEGER NOT NULL,
    from_incarnation TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    bump TEXT NOT NULL,
    begun_at INTEGER NOT NULL
) STRICT;
CREATE TABLE function_versions (
    function_id TEXT NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    definition TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (function_id, digest)
) STRICT;
CREATE TABLE functions (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    current_digest TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE TABLE group_features (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    feature TEXT NOT NULL,
    PRIMARY KEY (group_id, feature)
) STRICT;
CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
) STRICT;
CREATE INDEX group_members_by_user ON group_members (user_id);
CREATE TABLE group_parents (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    parent_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, parent_id)
) STRICT;
CREATE INDEX group_parents_by_parent ON group_parents (parent_id);
CREATE TABLE group_preferences (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (group_id, name)
) STRICT;
CREATE TABLE group_primaries (
    group_id TEXT NOT NULL PRIMARY KEY,
    parent_id TEXT NOT NULL,
    FOREIGN KEY (group_id, parent_id) REFERENCES group_parents (group_id, parent_id) ON DELETE CASCADE
) STRICT;
CREATE TABLE groups (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    builtin INTEGER NOT NULL
) STRICT;
CREATE TABLE idempotency (
    user_id TEXT NOT NULL,
    request_key TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, request_key)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (created_at);
CREATE TABLE item_signatures (
    id TEXT NOT NULL PRIMARY KEY,
    item_type TEXT NOT NULL,
    hash TEXT NOT NULL,
    certificate TEXT NOT NULL,
    signed_by TEXT NOT NULL,
    signed_at INTEGER NOT NULL,
    bundle TEXT NOT NULL
) STRICT;
CREATE INDEX item_signatures_by_hash ON item_signatures (hash, item_type, signed_at);
CREATE TABLE join_token_uses (
    token_id TEXT NOT NULL REFERENCES join_tokens (id) ON DELETE CASCADE,
    node_key TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (token_id, node_key)
) STRICT;
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
CREATE TABLE joins (
    join_key TEXT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    spki BLOB NOT NULL,
    transcript TEXT NOT NULL,
    name_key TEXT NOT NULL,
    applicant TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revealed_at INTEGER NOT NULL,
    poll_counter INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    renewal_of TEXT,
    node_id TEXT,
    issued_chain TEXT,
    version INTEGER NOT NULL
, token_id TEXT, votes TEXT NOT NULL DEFAULT '[]', prefix TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX joins_by_age ON joins (created_at, id);
CREATE INDEX joins_by_end ON joins (revealed_at);
CREATE INDEX joins_pending ON joins (revealed_at) WHERE state = 'pending';
CREATE INDEX joins_waiting_by_name ON joins (name_key) WHERE state = 'pending';
CREATE INDEX joins_waiting_by_prefix ON joins (prefix, source) WHERE state = 'pending';
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE TABLE library_items (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    parent_id TEXT REFERENCES library_items (id),
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    description TEXT NOT NULL,
    current_digest TEXT,
    inherits INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT,
    updated_at INTEGER NOT NULL,
    updated_by TEXT,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX library_items_by_name ON library_items (parent_id, name_key);
CREATE TABLE library_permissions (
    item_id TEXT NOT NULL REFERENCES library_items (id) ON DELETE CASCADE,
    grantee TEXT NOT NULL,
    principal TEXT NOT NULL,
    access TEXT NOT NULL,
    PRIMARY KEY (item_id, grantee, principal)
) STRICT;
CREATE TABLE library_versions (
    item_id TEXT NOT NULL REFERENCES library_items (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    manifest TEXT NOT NULL,
    files TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (item_id, digest)
) STRICT;
CREATE INDEX library_versions_by_digest ON library_versions (digest);
CREATE TABLE meta (
    single INTEGER NOT NULL PRIMARY KEY CHECK (single = 1),
    collective TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    writer TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    node_key TEXT NOT NULL UNIQUE,
    trust TEXT NOT NULL,
    scheduling TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    pool_id TEXT NOT NULL REFERENCES pools (id),
    site_id TEXT NOT NULL REFERENCES sites (id),
    addresses TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at INTEGER,
    inventory TEXT,
    version INTEGER NOT NULL
, generation INTEGER NOT NULL DEFAULT 1, generation_at INTEGER, reason TEXT) STRICT;
CREATE INDEX nodes_by_pool ON nodes (pool_id);
CREATE INDEX nodes_by_site ON nodes (site_id);
CREATE TABLE pools (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    builtin INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE revocation_lists (
    issuer TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    content TEXT NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der BLOB NOT NULL
) STRICT;
CREATE TABLE run_contents (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (run_id, digest)
) STRICT;
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
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    fence INTEGER NOT NULL,
    node_id TEXT,
    lease_until INTEGER,
    cancel_requested INTEGER NOT NULL,
    stale_since INTEGER,
    version INTEGER NOT NULL,
    function_id TEXT NOT NULL,
    function_name TEXT NOT NULL,
    digest TEXT NOT NULL,
    engine TEXT NOT NULL,
    user_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    client TEXT NOT NULL,
    capability TEXT NOT NULL,
    pool_id TEXT NOT NULL,
    site_id TEXT NOT NULL,
    request TEXT NOT NULL,
    mode TEXT,
    verdict TEXT,
    engine_description TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    ending TEXT,
    outputs TEXT,
    receipt TEXT
) STRICT;
CREATE INDEX runs_by_user ON runs (user_id, id);
CREATE INDEX runs_leased ON runs (lease_until) WHERE state = 'running';
CREATE INDEX runs_queued ON runs (capability, pool_id, site_id, created_at, id) WHERE state = 'queued';
CREATE INDEX runs_queued_by_user ON runs (user_id) WHERE state = 'queued';
CREATE INDEX runs_running ON runs (node_id) WHERE state = 'running';
CREATE TABLE schema_info (
    single INTEGER NOT NULL PRIMARY KEY CHECK (single = 1),
    current INTEGER NOT NULL,
    min_compatible INTEGER NOT NULL
) STRICT;
CREATE TABLE secrets (
    name TEXT NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL
) STRICT;
CREATE TABLE sessions (
    token_hash TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    label TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE TABLE signing_certificates (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    serial TEXT NOT NULL,
    subject TEXT NOT NULL,
    root TEXT,
    user_id TEXT,
    der BLOB NOT NULL,
    sealed_key BLOB NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    state TEXT NOT NULL,
    added_by TEXT NOT NULL,
    added_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX signing_certificates_by_number ON signing_certificates (issuer, serial);
CREATE INDEX signing_certificates_by_user ON signing_certificates (user_id, not_after);
CREATE TABLE signing_roots (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    subject TEXT NOT NULL,
    der BLOB NOT NULL,
    sealed_key BLOB NOT NULL,
    stamp_der BLOB NOT NULL,
    sealed_stamp_key BLOB NOT NULL,
    added_by TEXT NOT NULL,
    added_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX signing_roots_internal ON signing_roots (origin) WHERE origin = 'internal' AND state = 'accepted';
CREATE TABLE sites (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    builtin INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE trust_changes (
    number INTEGER NOT NULL,
    entry_key TEXT NOT NULL,
    value TEXT,
    at INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    PRIMARY KEY (number, entry_key)
) STRICT;
CREATE TABLE trust_entries (
    entry_key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE trust_head (
    single INTEGER NOT NULL PRIMARY KEY CHECK (single = 1),
    incarnation TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    previous TEXT NOT NULL
) STRICT;
CREATE TABLE trust_reasons (
    entry_key TEXT NOT NULL PRIMARY KEY,
    reason TEXT,
    decided_by TEXT NOT NULL,
    decided_at INTEGER NOT NULL
) STRICT;
CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;
