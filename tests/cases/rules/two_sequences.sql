-- The column owns one sequence and draws from another.
CREATE TABLE books (id bigserial PRIMARY KEY, t text);
CREATE SEQUENCE zz_books_seq;
ALTER TABLE books ALTER id SET DEFAULT nextval('zz_books_seq');
INSERT INTO books SELECT g, 'x' FROM generate_series(1, 50) g;
-- books_id_seq: ok 1
-- zz_books_seq: advanced 51
