-- A replicated row past MAXVALUE; the rows within it are behind.
CREATE SEQUENCE s MAXVALUE 1000000000;
CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'));
INSERT INTO t SELECT generate_series(1, 20);
INSERT INTO t VALUES (1000000001);
CREATE SEQUENCE filled MAXVALUE 100;
CREATE TABLE u (id numeric PRIMARY KEY DEFAULT nextval('filled'));
INSERT INTO u VALUES (100), (101.5);
CREATE SEQUENCE unindexed MAXVALUE 100;
CREATE TABLE v (id bigint DEFAULT nextval('unindexed'));
INSERT INTO v VALUES (7), (101);
-- s: advanced 21
-- filled: exhausted 1
-- unindexed: advanced 8
