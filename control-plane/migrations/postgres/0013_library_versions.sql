-- Versions of the items of the library that are no data functions, by the digest of their content. The bytes of files are
-- blobs.

CREATE TABLE library_versions (
    item_id TEXT COLLATE "C" NOT NULL REFERENCES library_items (id) ON DELETE CASCADE,
    digest TEXT COLLATE "C" NOT NULL,
    manifest TEXT NOT NULL,
    files TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (item_id, digest)
);

UPDATE schema_info SET current = 13;
