-- Versions of the items of the library that are no data functions, by the digest of their content. The bytes of files are
-- blobs.

CREATE TABLE library_versions (
    item_id TEXT NOT NULL REFERENCES library_items (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    manifest TEXT NOT NULL,
    files TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (item_id, digest)
) STRICT;

UPDATE schema_info SET current = 13;
