-- Each node has a range of its own, and the rows of all of them.
CREATE SEQUENCE node MINVALUE 1000000 MAXVALUE 1999999 START 1000000;
CREATE TABLE ours (id bigint PRIMARY KEY DEFAULT nextval('node'));
INSERT INTO ours SELECT generate_series(1, 50);
INSERT INTO ours SELECT generate_series(2000000, 2000050);
INSERT INTO ours SELECT generate_series(1000000, 1000040);
CREATE SEQUENCE fresh MINVALUE 1000000 MAXVALUE 1999999 START 1000000;
CREATE TABLE theirs (id bigint PRIMARY KEY DEFAULT nextval('fresh'));
INSERT INTO theirs VALUES (1), (2000000), (999999);
-- node: advanced 1000041
-- fresh: ok 1000000
