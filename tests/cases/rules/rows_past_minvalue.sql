-- The same, counting down.
CREATE SEQUENCE s INCREMENT -1 MINVALUE -1000 MAXVALUE -1;
CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'));
INSERT INTO t VALUES (5), (-7), (-1001), (-900000);
-- s: advanced -8
