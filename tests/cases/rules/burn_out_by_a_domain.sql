-- The shop's own table has a domain of another role's, who gives it a default that draws from the shop's sequence.
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE DOMAIN code AS bigint;
RESET ROLE;
CREATE TABLE shop_order (id serial PRIMARY KEY, code code);
INSERT INTO shop_order VALUES (7, 2147483646), (8, 2147483645);
SET ROLE {mallory};
ALTER DOMAIN code SET DEFAULT nextval('shop_order_id_seq');
RESET ROLE;
-- shop_order_id_seq: advanced 9
