-- Reading the table would call somebody's function with the rights of whoever reads.
CREATE TABLE log (who name);
GRANT INSERT ON log TO PUBLIC;
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE FUNCTION note() RETURNS void LANGUAGE sql VOLATILE AS $$ INSERT INTO {schema}.log VALUES (current_user) $$;
CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM {schema}.note(); RETURN true; END $$;
CREATE OPERATOR !@ (RIGHTARG = int, FUNCTION = f);
CREATE TABLE by_index (id serial PRIMARY KEY);
CREATE INDEX ON by_index (id) WHERE f(1);
CREATE TABLE by_expression (id serial PRIMARY KEY);
CREATE INDEX ON by_expression ((f(1)));
CREATE TABLE by_operator (id serial PRIMARY KEY);
CREATE INDEX ON by_operator (id) WHERE !@ 1;
CREATE TABLE by_check (id serial PRIMARY KEY, CHECK (f(1)));
CREATE TABLE by_statistics (id serial PRIMARY KEY, x int);
CREATE STATISTICS st ON (f(1)), x FROM by_statistics;
CREATE TABLE by_partition (id serial, k int) PARTITION BY RANGE (k, (f(k)));
INSERT INTO by_index VALUES (50);
INSERT INTO by_expression VALUES (50);
INSERT INTO by_operator VALUES (50);
INSERT INTO by_check VALUES (50);
INSERT INTO by_statistics VALUES (50);
RESET ROLE;
TRUNCATE log;
-- by_index_id_seq: unverified 1
-- by_expression_id_seq: unverified 1
-- by_operator_id_seq: unverified 1
-- by_check_id_seq: advanced 51
-- by_statistics_id_seq: unverified 1
-- by_partition_id_seq: unverified 1
