-- Sequences of columns that are no numbers any more.
CREATE TABLE country (code serial PRIMARY KEY);
ALTER TABLE country ALTER code TYPE varchar(3);
INSERT INTO country VALUES ('DE'), ('FR');
CREATE TABLE doc (id serial PRIMARY KEY);
ALTER TABLE doc ALTER id DROP DEFAULT, ALTER id TYPE uuid USING gen_random_uuid();
-- country_code_seq: ok 1
-- doc_id_seq: ok 1
