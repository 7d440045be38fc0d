-- No default at all: a trigger draws, as Oracle's users write it.
CREATE TABLE t (id bigint PRIMARY KEY, x text);
CREATE SEQUENCE t_id_seq OWNED BY t.id;
INSERT INTO t SELECT generate_series(1, 30);
-- t_id_seq: advanced 31
