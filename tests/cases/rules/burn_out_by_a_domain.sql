-- The shop's own table has a domain of another role's, who gives it a default that draws from the shop's sequence.
GRANT USAGE, CREATE ON SCHEMA {schema} TO {mallory};
SET ROLE {mallory};
CREATE DOMAIN code AS bigint;
CREATE DOMAIN by_text AS bigint;
RESET ROLE;
CREATE TABLE shop_order (id serial PRIMARY KEY, code code, text by_text);
INSERT INTO shop_order VALUES (7, 2147483646, 2147483644), (8, 2147483645, 2147483643);
SET ROLE {mallory};
ALTER DOMAIN code SET DEFAULT nextval('shop_order_id_seq');
ALTER DOMAIN by_text SET DEFAULT nextval('{schema}.shop_order_id_seq'::text::regclass);
RESET ROLE;
-- shop_order_id_seq: advanced 9
