-- Ids made of a time and a sequence, by a function that the sequence is only a part of.
CREATE TABLE toot (id bigserial PRIMARY KEY);
CREATE FUNCTION timestamp_id() RETURNS bigint LANGUAGE sql AS $$ SELECT (date_part('epoch', now()) * 1000)::bigint << 16 | nextval('toot_id_seq') & 65535 $$;
ALTER TABLE toot ALTER id SET DEFAULT timestamp_id();
INSERT INTO toot DEFAULT VALUES;
-- toot_id_seq: unverified 2
