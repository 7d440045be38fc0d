-- Clients draw for the column that owns the sequence; another role, who may draw, lets its own do so.
CREATE TABLE shop_order (id int PRIMARY KEY);
CREATE SEQUENCE shop_order_id_seq OWNED BY shop_order.id;
INSERT INTO shop_order VALUES (7);
GRANT USAGE ON SEQUENCE shop_order_id_seq TO {mallory};
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE TABLE t (id int DEFAULT nextval('shop_order_id_seq'));
RESET ROLE;
-- shop_order_id_seq: advanced 8
