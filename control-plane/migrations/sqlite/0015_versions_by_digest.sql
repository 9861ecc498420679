-- Whether anything here has a content is asked before somebody trusts it.
CREATE INDEX library_versions_by_digest ON library_versions (digest);

UPDATE schema_info SET current = 15;
