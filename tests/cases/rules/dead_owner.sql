-- int to bigint by a shadow column: the old one still owns the sequence.
CREATE TABLE jobs (id serial PRIMARY KEY, t text);
INSERT INTO jobs SELECT g, 'x' FROM generate_series(1, 40) g;
ALTER TABLE jobs ADD COLUMN id_big bigint;
UPDATE jobs SET id_big = id;
ALTER TABLE jobs DROP CONSTRAINT jobs_pkey;
ALTER TABLE jobs RENAME COLUMN id TO id_old;
ALTER TABLE jobs RENAME COLUMN id_big TO id;
ALTER TABLE jobs ALTER id_old DROP NOT NULL, ALTER id_old DROP DEFAULT;
ALTER TABLE jobs ADD PRIMARY KEY (id), ALTER id SET DEFAULT nextval('jobs_id_seq');
ALTER SEQUENCE jobs_id_seq AS bigint;
INSERT INTO jobs (id, t) SELECT g, 'y' FROM generate_series(2147483648, 2147484000) g;
-- jobs_id_seq: advanced 2147484001
