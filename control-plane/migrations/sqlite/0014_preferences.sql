-- Values that groups give to their members, and the one of its parents that goes before the others.
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

-- A program that knows no deleted users cannot read their rows.
UPDATE schema_info SET current = 14, min_compatible = 14;
