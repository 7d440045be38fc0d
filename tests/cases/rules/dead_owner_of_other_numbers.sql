-- The owner was given a new use; what draws is healthy and stays where it is.
CREATE TABLE t (legacy serial, id bigint);
ALTER TABLE t ALTER legacy DROP DEFAULT, ALTER legacy DROP NOT NULL;
ALTER TABLE t ALTER id SET DEFAULT nextval('t_legacy_seq');
INSERT INTO t (legacy) VALUES (2000000000), (7);
-- t_legacy_seq: ok 3
