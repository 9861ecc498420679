CREATE TABLE public.audit (
    writer text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    previous text NOT NULL,
    record text NOT NULL,
    hash text NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL,
    event text NOT NULL,
    subject text NOT NULL
);
CREATE TABLE public.audit_heads (
    writer text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    hash text NOT NULL
);
CREATE TABLE public.authorities (
    number bigint NOT NULL,
    root text NOT NULL,
    state text NOT NULL,
    root_der bytea NOT NULL,
    root_cross bytea NOT NULL,
    issuing bytea NOT NULL,
    issuing_cross bytea NOT NULL,
    policy bytea NOT NULL,
    prepared_at bigint NOT NULL,
    activated_at bigint,
    tainted_at bigint,
    revoked_at bigint,
    version bigint NOT NULL
);
CREATE TABLE public.certificates (
    serial text NOT NULL COLLATE pg_catalog."C",
    subject_id text NOT NULL COLLATE pg_catalog."C",
    purpose text NOT NULL,
    der bytea NOT NULL,
    not_before bigint NOT NULL,
    not_after bigint NOT NULL,
    state text NOT NULL,
    revoked_at bigint,
    reason text,
    key text,
    generation bigint DEFAULT 1 NOT NULL,
    authority text
);
CREATE TABLE public.control_planes (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    started_at bigint NOT NULL,
    addresses text NOT NULL
);
CREATE TABLE public.epoch_reports (
    epoch bigint NOT NULL,
    node_id text NOT NULL,
    incarnation text,
    state_epoch bigint,
    number bigint,
    digest text,
    reported_at bigint NOT NULL
);
CREATE TABLE public.epochs (
    epoch bigint NOT NULL,
    incarnation text NOT NULL,
    from_epoch bigint NOT NULL,
    from_incarnation text NOT NULL,
    number bigint NOT NULL,
    digest text NOT NULL,
    bump text NOT NULL,
    begun_at bigint NOT NULL
);
CREATE TABLE public.function_versions (
    function_id text NOT NULL COLLATE pg_catalog."C",
    digest text NOT NULL,
    definition text NOT NULL,
    created_at bigint NOT NULL,
    created_by text NOT NULL
);
CREATE TABLE public.functions (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    current_digest text NOT NULL,
    created_at bigint NOT NULL,
    created_by text NOT NULL,
    updated_at bigint NOT NULL,
    updated_by text NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE public.group_features (
    group_id text NOT NULL COLLATE pg_catalog."C",
    feature text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.group_members (
    group_id text NOT NULL COLLATE pg_catalog."C",
    user_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.group_parents (
    group_id text NOT NULL COLLATE pg_catalog."C",
    parent_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.group_preferences (
    group_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL
);
CREATE TABLE public.group_primaries (
    group_id text NOT NULL COLLATE pg_catalog."C",
    parent_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.groups (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    builtin boolean NOT NULL
);
CREATE TABLE public.idempotency (
    user_id text NOT NULL COLLATE pg_catalog."C",
    request_key text NOT NULL,
    request_digest text NOT NULL,
    status bigint NOT NULL,
    body text NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.item_signatures (
    id text NOT NULL,
    item_type text NOT NULL,
    hash text NOT NULL,
    certificate text NOT NULL,
    signed_by text NOT NULL,
    signed_at bigint NOT NULL,
    bundle text NOT NULL
);
CREATE TABLE public.join_token_uses (
    token_id text NOT NULL COLLATE pg_catalog."C",
    node_key text NOT NULL COLLATE pg_catalog."C",
    used_at bigint NOT NULL
);
CREATE TABLE public.join_tokens (
    id text NOT NULL COLLATE pg_catalog."C",
    public_key bytea NOT NULL,
    capabilities text NOT NULL,
    pool text NOT NULL,
    site text NOT NULL,
    name_pattern text,
    address_pattern text,
    uses bigint NOT NULL,
    used bigint NOT NULL,
    created_at bigint NOT NULL,
    created_by text NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint,
    reason text,
    refused bigint NOT NULL,
    refused_at bigint,
    refused_why text
);
CREATE TABLE public.joins (
    join_key text NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    spki bytea NOT NULL,
    transcript text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    applicant text NOT NULL,
    source text NOT NULL,
    created_at bigint NOT NULL,
    revealed_at bigint NOT NULL,
    poll_counter bigint NOT NULL,
    state text NOT NULL,
    reason text,
    renewal_of text,
    node_id text COLLATE pg_catalog."C",
    issued_chain text,
    version bigint NOT NULL,
    token_id text,
    votes text DEFAULT '[]'::text NOT NULL,
    prefix text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.leases (
    name text NOT NULL,
    holder text NOT NULL,
    expires_at bigint NOT NULL
);
CREATE TABLE public.library_items (
    id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    parent_id text COLLATE pg_catalog."C",
    name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    description text NOT NULL,
    current_digest text,
    inherits boolean NOT NULL,
    created_at bigint NOT NULL,
    created_by text COLLATE pg_catalog."C",
    updated_at bigint NOT NULL,
    updated_by text COLLATE pg_catalog."C",
    version bigint NOT NULL
);
CREATE TABLE public.library_permissions (
    item_id text NOT NULL COLLATE pg_catalog."C",
    grantee text NOT NULL,
    principal text NOT NULL COLLATE pg_catalog."C",
    access text NOT NULL
);
CREATE TABLE public.library_versions (
    item_id text NOT NULL COLLATE pg_catalog."C",
    digest text NOT NULL COLLATE pg_catalog."C",
    manifest text NOT NULL,
    files text NOT NULL,
    created_at bigint NOT NULL,
    created_by text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.meta (
    single bigint NOT NULL,
    collective text NOT NULL,
    incarnation text NOT NULL,
    epoch bigint NOT NULL,
    writer text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    CONSTRAINT meta_single_check CHECK ((single = 1))
);
CREATE TABLE public.nodes (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    node_key text NOT NULL,
    trust text NOT NULL,
    scheduling text NOT NULL,
    capabilities text NOT NULL,
    pool_id text NOT NULL COLLATE pg_catalog."C",
    site_id text NOT NULL COLLATE pg_catalog."C",
    addresses text NOT NULL,
    created_at bigint NOT NULL,
    seen_at bigint,
    inventory text,
    version bigint NOT NULL,
    generation bigint DEFAULT 1 NOT NULL,
    generation_at bigint,
    reason text
);
CREATE TABLE public.pools (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    builtin boolean NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.revocation_lists (
    issuer text NOT NULL,
    number bigint NOT NULL,
    content text NOT NULL,
    this_update bigint NOT NULL,
    next_update bigint NOT NULL,
    der bytea NOT NULL
);
CREATE TABLE public.run_contents (
    run_id text NOT NULL,
    digest text NOT NULL,
    bytes bytea NOT NULL
);
CREATE TABLE public.run_output (
    run_id text NOT NULL,
    stream text NOT NULL,
    begins bigint NOT NULL,
    ends bigint NOT NULL,
    at bigint NOT NULL,
    bytes bytea NOT NULL
);
CREATE TABLE public.run_progress (
    run_id text NOT NULL,
    millionths bigint,
    words text NOT NULL,
    at bigint NOT NULL
);
CREATE TABLE public.runs (
    id text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL,
    fence bigint NOT NULL,
    node_id text COLLATE pg_catalog."C",
    lease_until bigint,
    cancel_requested boolean NOT NULL,
    stale_since bigint,
    version bigint NOT NULL,
    function_id text NOT NULL COLLATE pg_catalog."C",
    function_name text NOT NULL,
    digest text NOT NULL,
    engine text NOT NULL,
    user_id text NOT NULL COLLATE pg_catalog."C",
    user_name text NOT NULL,
    client text NOT NULL,
    capability text NOT NULL,
    pool_id text NOT NULL COLLATE pg_catalog."C",
    site_id text NOT NULL COLLATE pg_catalog."C",
    request text NOT NULL,
    mode text,
    verdict text,
    engine_description text,
    created_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint,
    ending text,
    outputs text,
    receipt text
);
CREATE TABLE public.schema_info (
    single bigint NOT NULL,
    current bigint NOT NULL,
    min_compatible bigint NOT NULL,
    CONSTRAINT schema_info_single_check CHECK ((single = 1))
);
CREATE TABLE public.secrets (
    name text NOT NULL,
    epoch bigint NOT NULL,
    nonce bytea NOT NULL,
    ciphertext bytea NOT NULL
);
CREATE TABLE public.sessions (
    token_hash text NOT NULL,
    user_id text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    label text NOT NULL
);
CREATE TABLE public.signing_certificates (
    fingerprint text NOT NULL,
    issuer text NOT NULL,
    serial text NOT NULL,
    subject text NOT NULL,
    root text,
    user_id text,
    der bytea NOT NULL,
    sealed_key bytea NOT NULL,
    not_before bigint NOT NULL,
    not_after bigint NOT NULL,
    state text NOT NULL,
    added_by text NOT NULL,
    added_at bigint NOT NULL
);
CREATE TABLE public.signing_roots (
    fingerprint text NOT NULL,
    origin text NOT NULL,
    state text NOT NULL,
    subject text NOT NULL,
    der bytea NOT NULL,
    sealed_key bytea NOT NULL,
    stamp_der bytea NOT NULL,
    sealed_stamp_key bytea NOT NULL,
    added_by text NOT NULL,
    added_at bigint NOT NULL
);
CREATE TABLE public.sites (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    builtin boolean NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.trust_changes (
    number bigint NOT NULL,
    entry_key text NOT NULL COLLATE pg_catalog."C",
    value text,
    at bigint NOT NULL,
    changed_by text NOT NULL
);
CREATE TABLE public.trust_entries (
    entry_key text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL
);
CREATE TABLE public.trust_head (
    single bigint NOT NULL,
    incarnation text NOT NULL,
    epoch bigint NOT NULL,
    number bigint NOT NULL,
    digest text NOT NULL,
    previous text NOT NULL,
    CONSTRAINT trust_head_single_check CHECK ((single = 1))
);
CREATE TABLE public.trust_reasons (
    entry_key text NOT NULL,
    reason text,
    decided_by text NOT NULL,
    decided_at bigint NOT NULL
);
CREATE TABLE public.users (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    name_key text NOT NULL COLLATE pg_catalog."C",
    password_hash text,
    state text NOT NULL,
    created_at bigint NOT NULL,
    version bigint NOT NULL
);
ALTER TABLE ONLY public.audit_heads
    ADD CONSTRAINT audit_heads_pkey PRIMARY KEY (writer);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (writer, sequence);
ALTER TABLE ONLY public.authorities
    ADD CONSTRAINT authorities_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.authorities
    ADD CONSTRAINT authorities_root_key UNIQUE (root);
ALTER TABLE ONLY public.certificates
    ADD CONSTRAINT certificates_pkey PRIMARY KEY (serial);
ALTER TABLE ONLY public.control_planes
    ADD CONSTRAINT control_planes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.epoch_reports
    ADD CONSTRAINT epoch_reports_pkey PRIMARY KEY (epoch, node_id);
ALTER TABLE ONLY public.epochs
    ADD CONSTRAINT epochs_pkey PRIMARY KEY (epoch);
ALTER TABLE ONLY public.function_versions
    ADD CONSTRAINT function_versions_pkey PRIMARY KEY (function_id, digest);
ALTER TABLE ONLY public.functions
    ADD CONSTRAINT functions_name_key_key UNIQUE (name_key);
ALTER TABLE ONLY public.functions
    ADD CONSTRAINT functions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.group_features
    ADD CONSTRAINT group_features_pkey PRIMARY KEY (group_id, feature);
ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_pkey PRIMARY KEY (group_id, user_id);
ALTER TABLE ONLY public.group_parents
    ADD CONSTRAINT group_parents_pkey PRIMARY KEY (group_id, parent_id);
ALTER TABLE ONLY public.group_preferences
    ADD CONSTRAINT group_preferences_pkey PRIMARY KEY (group_id, name);
ALTER TABLE ONLY public.group_primaries
    ADD CONSTRAINT group_primaries_pkey PRIMARY KEY (group_id);
ALTER TABLE ONLY public.groups
    ADD CONSTRAINT groups_name_key_key UNIQUE (name_key);
ALTER TABLE ONLY public.groups
    ADD CONSTRAINT groups_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (user_id, request_key);
ALTER TABLE ONLY public.item_signatures
    ADD CONSTRAINT item_signatures_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.join_token_uses
    ADD CONSTRAINT join_token_uses_pkey PRIMARY KEY (token_id, node_key);
ALTER TABLE ONLY public.join_tokens
    ADD CONSTRAINT join_tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.joins
    ADD CONSTRAINT joins_id_key UNIQUE (id);
ALTER TABLE ONLY public.joins
    ADD CONSTRAINT joins_pkey PRIMARY KEY (join_key);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.library_items
    ADD CONSTRAINT library_items_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.library_permissions
    ADD CONSTRAINT library_permissions_pkey PRIMARY KEY (item_id, grantee, principal);
ALTER TABLE ONLY public.library_versions
    ADD CONSTRAINT library_versions_pkey PRIMARY KEY (item_id, digest);
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (single);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_name_key_key UNIQUE (name_key);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_node_key_key UNIQUE (node_key);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pools
    ADD CONSTRAINT pools_name_key_key UNIQUE (name_key);
ALTER TABLE ONLY public.pools
    ADD CONSTRAINT pools_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.revocation_lists
    ADD CONSTRAINT revocation_lists_pkey PRIMARY KEY (issuer);
ALTER TABLE ONLY public.run_contents
    ADD CONSTRAINT run_contents_pkey PRIMARY KEY (run_id, digest);
ALTER TABLE ONLY public.run_output
    ADD CONSTRAINT run_output_pkey PRIMARY KEY (run_id, stream, begins);
ALTER TABLE ONLY public.run_progress
    ADD CONSTRAINT run_progress_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.schema_info
    ADD CONSTRAINT schema_info_pkey PRIMARY KEY (single);
ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (token_hash);
ALTER TABLE ONLY public.signing_certificates
    ADD CONSTRAINT signing_certificates_pkey PRIMARY KEY (fingerprint);
ALTER TABLE ONLY public.signing_roots
    ADD CONSTRAINT signing_roots_pkey PRIMARY KEY (fingerprint);
ALTER TABLE ONLY public.sites
    ADD CONSTRAINT sites_name_key_key UNIQUE (name_key);
ALTER TABLE ONLY public.sites
    ADD CONSTRAINT sites_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.trust_changes
    ADD CONSTRAINT trust_changes_pkey PRIMARY KEY (number, entry_key);
ALTER TABLE ONLY public.trust_entries
    ADD CONSTRAINT trust_entries_pkey PRIMARY KEY (entry_key);
ALTER TABLE ONLY public.trust_head
    ADD CONSTRAINT trust_head_pkey PRIMARY KEY (single);
ALTER TABLE ONLY public.trust_reasons
    ADD CONSTRAINT trust_reasons_pkey PRIMARY KEY (entry_key);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_name_key_key UNIQUE (name_key);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE INDEX audit_by_time ON public.audit USING btree (at, writer, sequence);
CREATE UNIQUE INDEX authorities_active ON public.authorities USING btree (state) WHERE (state = 'active'::text);
CREATE INDEX certificates_by_authority ON public.certificates USING btree (authority, purpose);
CREATE INDEX certificates_by_key ON public.certificates USING btree (key) WHERE (purpose = 'node'::text);
CREATE INDEX certificates_by_subject ON public.certificates USING btree (subject_id);
CREATE INDEX certificates_ended ON public.certificates USING btree (not_after) WHERE (state <> 'valid'::text);
CREATE INDEX epoch_reports_by_digest ON public.epoch_reports USING btree (epoch, digest);
CREATE INDEX group_members_by_user ON public.group_members USING btree (user_id);
CREATE INDEX group_parents_by_parent ON public.group_parents USING btree (parent_id);
CREATE INDEX idempotency_by_age ON public.idempotency USING btree (created_at);
CREATE INDEX item_signatures_by_hash ON public.item_signatures USING btree (hash, item_type, signed_at);
CREATE INDEX join_tokens_by_end ON public.join_tokens USING btree (expires_at);
CREATE INDEX joins_by_age ON public.joins USING btree (created_at, id);
CREATE INDEX joins_by_end ON public.joins USING btree (revealed_at);
CREATE INDEX joins_pending ON public.joins USING btree (revealed_at) WHERE (state = 'pending'::text);
CREATE INDEX joins_waiting_by_name ON public.joins USING btree (name_key) WHERE (state = 'pending'::text);
CREATE INDEX joins_waiting_by_prefix ON public.joins USING btree (prefix, source) WHERE (state = 'pending'::text);
CREATE UNIQUE INDEX library_items_by_name ON public.library_items USING btree (parent_id, name_key);
CREATE INDEX library_versions_by_digest ON public.library_versions USING btree (digest);
CREATE INDEX nodes_by_pool ON public.nodes USING btree (pool_id);
CREATE INDEX nodes_by_site ON public.nodes USING btree (site_id);
CREATE INDEX run_output_by_age ON public.run_output USING btree (at);
CREATE INDEX run_progress_by_age ON public.run_progress USING btree (at);
CREATE INDEX runs_by_user ON public.runs USING btree (user_id, id);
CREATE INDEX runs_leased ON public.runs USING btree (lease_until) WHERE (state = 'running'::text);
CREATE INDEX runs_queued ON public.runs USING btree (capability, pool_id, site_id, created_at, id) WHERE (state = 'queued'::text);
CREATE INDEX runs_queued_by_user ON public.runs USING btree (user_id) WHERE (state = 'queued'::text);
CREATE INDEX runs_running ON public.runs USING btree (node_id) WHERE (state = 'running'::text);
CREATE INDEX sessions_by_end ON public.sessions USING btree (expires_at);
CREATE INDEX sessions_by_user ON public.sessions USING btree (user_id);
CREATE UNIQUE INDEX signing_certificates_by_number ON public.signing_certificates USING btree (issuer, serial);
CREATE INDEX signing_certificates_by_user ON public.signing_certificates USING btree (user_id, not_after);
CREATE UNIQUE INDEX signing_roots_internal ON public.signing_roots USING btree (origin) WHERE ((origin = 'internal'::text) AND (state = 'accepted'::text));
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_writer_fkey FOREIGN KEY (writer) REFERENCES public.audit_heads(writer);
ALTER TABLE ONLY public.function_versions
    ADD CONSTRAINT function_versions_function_id_fkey FOREIGN KEY (function_id) REFERENCES public.functions(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.group_features
    ADD CONSTRAINT group_features_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.groups(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.groups(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.group_members
    ADD CONSTRAINT group_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.group_parents
    ADD CONSTRAINT group_parents_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.groups(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.group_parents
    ADD CONSTRAINT group_parents_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.groups(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.group_preferences
    ADD CONSTRAINT group_preferences_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.groups(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.group_primaries
    ADD CONSTRAINT group_primaries_group_id_parent_id_fkey FOREIGN KEY (group_id, parent_id) REFERENCES public.group_parents(group_id, parent_id) ON DELETE CASCADE;
ALTER TABLE ONLY public.join_token_uses
    ADD CONSTRAINT join_token_uses_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.join_tokens(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.library_items
    ADD CONSTRAINT library_items_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.library_items(id);
ALTER TABLE ONLY public.library_permissions
    ADD CONSTRAINT library_permissions_item_id_fkey FOREIGN KEY (item_id) REFERENCES public.library_items(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.library_versions
    ADD CONSTRAINT library_versions_item_id_fkey FOREIGN KEY (item_id) REFERENCES public.library_items(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_pool_id_fkey FOREIGN KEY (pool_id) REFERENCES public.pools(id);
ALTER TABLE ONLY public.nodes
    ADD CONSTRAINT nodes_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.sites(id);
ALTER TABLE ONLY public.run_contents
    ADD CONSTRAINT run_contents_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.run_output
    ADD CONSTRAINT run_output_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.run_progress
    ADD CONSTRAINT run_progress_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
