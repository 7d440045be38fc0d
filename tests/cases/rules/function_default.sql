-- The column was serial once; now a function puts the year in front of the number.
CREATE TABLE invoice (no serial PRIMARY KEY, t text);
ALTER TABLE invoice ALTER no TYPE bigint;
CREATE FUNCTION next_invoice_no() RETURNS bigint LANGUAGE sql AS $$ SELECT 2026 * 1000000::bigint + nextval('invoice_no_seq') $$;
ALTER TABLE invoice ALTER no SET DEFAULT next_invoice_no();
ALTER SEQUENCE invoice_no_seq AS bigint;
INSERT INTO invoice (t) SELECT 'x' FROM generate_series(1, 123);
-- invoice_no_seq: unverified 124
