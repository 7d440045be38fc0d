-- Domains draw, with a cast to their type, or by the sequence's name as text.
CREATE SEQUENCE of_numeric;
CREATE DOMAIN n AS numeric DEFAULT nextval('of_numeric');
CREATE TABLE t (id n PRIMARY KEY);
INSERT INTO t VALUES (7);
CREATE SEQUENCE by_text;
CREATE DOMAIN b AS bigint DEFAULT nextval('{schema}.by_text'::text::regclass);
CREATE TABLE u (id b PRIMARY KEY);
INSERT INTO u VALUES (8);
CREATE SEQUENCE more;
CREATE DOMAIN m AS int DEFAULT nextval('more') + 1000;
CREATE TABLE v (id m PRIMARY KEY);
INSERT INTO v VALUES (2000);
-- of_numeric: advanced 8
-- by_text: advanced 9
-- more: unverified 1
