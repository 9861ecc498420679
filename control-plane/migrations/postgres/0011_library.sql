-- The library: folders and items, and who may read and write them. A data function has one row here and one in functions,
-- under one identifier. The root is the only item without a parent.

CREATE TABLE library_items (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    parent_id TEXT COLLATE "C" REFERENCES library_items (id),
    name TEXT NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    current_digest TEXT,
    inherits BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT COLLATE "C",
    updated_at BIGINT NOT NULL,
    updated_by TEXT COLLATE "C",
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX library_items_by_name ON library_items (parent_id, name_key);

-- The permissions of items that do not inherit those of their folder. A principal is a user, a group or a license
-- feature, by its name.
CREATE TABLE library_permissions (
    item_id TEXT COLLATE "C" NOT NULL REFERENCES library_items (id) ON DELETE CASCADE,
    grantee TEXT NOT NULL,
    principal TEXT COLLATE "C" NOT NULL,
    access TEXT NOT NULL,
    PRIMARY KEY (item_id, grantee, principal)
);

INSERT INTO library_items (id, kind, parent_id, name, name_key, description, current_digest, inherits, created_at, created_by, updated_at, updated_by, version)
VALUES ('00000000-0000-0000-0000-000000000000', 'folder', NULL, 'Library', 'library', '', NULL, FALSE, 0, NULL, 0, NULL, 1);

-- What held before there were permissions: everybody reads, and who may register functions writes.
INSERT INTO library_permissions (item_id, grantee, principal, access) VALUES ('00000000-0000-0000-0000-000000000000', 'group', 'Everyone', 'read');
INSERT INTO library_permissions (item_id, grantee, principal, access) VALUES ('00000000-0000-0000-0000-000000000000', 'license', 'Register Data Functions', 'write');

INSERT INTO library_items (id, kind, parent_id, name, name_key, description, current_digest, inherits, created_at, created_by, updated_at, updated_by, version)
SELECT id, 'data_function', '00000000-0000-0000-0000-000000000000', name, name_key, '', current_digest, TRUE, created_at, created_by, updated_at, updated_by, 1 FROM functions;

-- A program that knows no permissions must not serve this library.
UPDATE schema_info SET current = 11, min_compatible = 11;
