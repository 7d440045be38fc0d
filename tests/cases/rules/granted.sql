-- Another role may draw, since the sequence's owner lets it: then its table counts.
CREATE SEQUENCE s;
GRANT USAGE ON SEQUENCE s TO {mallory};
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'));
INSERT INTO t VALUES (12);
RESET ROLE;
-- s: advanced 13
