-- The lineage of each node's certificates: every renewal is the next generation under a new key, and the node stands
-- at the generation of the newest certificate that it has used. A locked node says why.
ALTER TABLE certificates ADD COLUMN key TEXT;
ALTER TABLE certificates ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
UPDATE certificates SET key = (SELECT node_key FROM nodes WHERE nodes.id = certificates.subject_id)
    WHERE purpose = 'node';
CREATE INDEX certificates_by_key ON certificates (key) WHERE purpose = 'node';

ALTER TABLE nodes ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE nodes ADD COLUMN generation_at INTEGER;
ALTER TABLE nodes ADD COLUMN reason TEXT;

UPDATE schema_info SET current = 3;
