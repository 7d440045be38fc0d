-- A role with no privilege on the sequence draws from it in tables, domains and views of its own.
CREATE TABLE shop_order (id serial PRIMARY KEY);
INSERT INTO shop_order VALUES (7);
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE TABLE burn (id bigint DEFAULT nextval('shop_order_id_seq'));
INSERT INTO burn VALUES (2147483646);
CREATE TABLE by_text (id bigint DEFAULT nextval('shop_order_id_seq'::text::regclass));
INSERT INTO by_text VALUES (2147483645);
CREATE DOMAIN d AS bigint DEFAULT nextval('shop_order_id_seq');
CREATE TABLE by_domain (id d);
INSERT INTO by_domain VALUES (2147483644);
CREATE VIEW v AS SELECT * FROM burn;
ALTER VIEW v ALTER id SET DEFAULT nextval('shop_order_id_seq');
CREATE TABLE child () INHERITS (burn);
INSERT INTO child VALUES (2147483643);
CREATE TABLE part (id bigint DEFAULT nextval('shop_order_id_seq'), k int) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
INSERT INTO part VALUES (2147483642, 1);
RESET ROLE;
-- shop_order_id_seq: advanced 8
