-- The library: folders and items, and who may read and write them. A data function has one row here and one in functions,
-- under one identifier. The root is the only item without a parent.

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

-- The permissions of items that do not inherit those of their folder. A principal is a user, a group or a license
-- feature, by its name.
CREATE TABLE library_permissions (
    item_id TEXT NOT NULL REFERENCES library_items (id) ON DELETE CASCADE,
    grantee TEXT NOT NULL,
    principal TEXT NOT NULL,
    access TEXT NOT NULL,
    PRIMARY KEY (item_id, grantee, principal)
) STRICT;

INSERT INTO library_items (id, kind, parent_id, name, name_key, description, current_digest, inherits, created_at, created_by, updated_at, updated_by, version)
VALUES ('00000000-0000-0000-0000-000000000000', 'folder', NULL, 'Library', 'library', '', NULL, 0, 0, NULL, 0, NULL, 1);

-- What held before there were permissions: everybody reads, and who may register functions writes.
INSERT INTO library_permissions (item_id, grantee, principal, access) VALUES ('00000000-0000-0000-0000-000000000000', 'group', 'Everyone', 'read');
INSERT INTO library_permissions (item_id, grantee, principal, access) VALUES ('00000000-0000-0000-0000-000000000000', 'license', 'Register Data Functions', 'write');

INSERT INTO library_items (id, kind, parent_id, name, name_key, description, current_digest, inherits, created_at, created_by, updated_at, updated_by, version)
SELECT id, 'data_function', '00000000-0000-0000-0000-000000000000', name, name_key, '', current_digest, 1, created_at, created_by, updated_at, updated_by, 1 FROM functions;

-- A program that knows no permissions must not serve this library.
UPDATE schema_info SET current = 11, min_compatible = 11;
