-- Whoever owns the sequence has another default: its numbers are made elsewhere.
CREATE TABLE c (id serial PRIMARY KEY);
ALTER TABLE c ALTER id SET DEFAULT 0;
INSERT INTO c VALUES (500);
-- c_id_seq: unverified 1
