-- The column was widened for imported ids; the sequence goes on below them.
CREATE TABLE t (id serial PRIMARY KEY);
ALTER TABLE t ALTER id TYPE bigint;
INSERT INTO t SELECT generate_series(1, 9);
INSERT INTO t VALUES (1794382910239711232);
-- t_id_seq: advanced 10
