-- The same by typed, foreign and unlogged tables, defaults in other forms, a name, and refused tricks of ownership.
CREATE TABLE shop_order (id serial PRIMARY KEY);
INSERT INTO shop_order VALUES (7);
CREATE SEQUENCE shop_ticket_id_seq;
CREATE FOREIGN DATA WRAPPER none_{schema};
GRANT USAGE ON FOREIGN DATA WRAPPER none_{schema} TO {mallory};
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE UNLOGGED TABLE unlogged (id int DEFAULT nextval('shop_order_id_seq')::int + 0);
INSERT INTO unlogged VALUES (2147483646);
CREATE TYPE row_type AS (id bigint);
CREATE TABLE typed OF row_type (id DEFAULT nextval('shop_order_id_seq'));
INSERT INTO typed VALUES (2147483645);
CREATE DOMAIN inner_d AS bigint DEFAULT nextval('shop_order_id_seq');
CREATE DOMAIN outer_d AS inner_d;
CREATE TABLE by_outer (id outer_d);
INSERT INTO by_outer VALUES (2147483644);
CREATE SERVER nowhere_{schema} FOREIGN DATA WRAPPER none_{schema};
CREATE FOREIGN TABLE far (id bigint DEFAULT nextval('shop_order_id_seq')) SERVER nowhere_{schema};
CREATE TABLE part (id bigint DEFAULT nextval('shop_order_id_seq'), k int) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE FOREIGN TABLE part_2 PARTITION OF part FOR VALUES IN (2) SERVER nowhere_{schema};
INSERT INTO part VALUES (2147483643, 1);
-- A name leads from the sequence to this table, which the shop draws for elsewhere.
CREATE TABLE shop_ticket (id bigint PRIMARY KEY);
INSERT INTO shop_ticket VALUES (2147483642), (2147483641);
-- What PostgreSQL refuses; were one of these to go through, the answer would be another.
CREATE FUNCTION tried(statement text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN EXECUTE statement; RAISE 'not refused: %', statement;
    EXCEPTION WHEN insufficient_privilege OR wrong_object_type OR object_not_in_prerequisite_state THEN NULL; END $$;
SELECT tried('ALTER SEQUENCE shop_order_id_seq OWNED BY unlogged.id');
SELECT tried('ALTER TABLE unlogged INHERIT shop_order');
SELECT tried('ALTER TABLE shop_order INHERIT typed');
SELECT tried('CREATE TABLE heir () INHERITS (shop_order)');
SELECT tried('ALTER TABLE unlogged OWNER TO postgres');
SELECT tried('ALTER SEQUENCE shop_order_id_seq OWNER TO {mallory}');
CREATE TABLE with_own (id serial);
SELECT tried('ALTER SEQUENCE with_own_id_seq OWNED BY shop_order.id');
RESET ROLE;
-- shop_order_id_seq: advanced 8
-- shop_ticket_id_seq: ok 1
