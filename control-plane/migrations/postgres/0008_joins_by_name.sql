-- An approval looks for other requests of the same name while it holds the writer.

CREATE INDEX joins_waiting_by_name ON joins (name_key) WHERE state = 'pending';

UPDATE schema_info SET current = 8;
