-- The shop's table inherits from one of another role's, who lets that draw from the shop's sequence.
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE TABLE parent (id int);
RESET ROLE;
CREATE TABLE shop_order (id serial PRIMARY KEY) INHERITS (parent);
INSERT INTO shop_order VALUES (7);
SET ROLE {mallory};
ALTER TABLE ONLY parent ALTER id SET DEFAULT nextval('shop_order_id_seq');
INSERT INTO parent VALUES (2147483646);
RESET ROLE;
-- shop_order_id_seq: advanced 8
