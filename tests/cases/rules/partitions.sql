-- A plain table became the first partition, and the sequence stays OWNED BY it.
CREATE TABLE ci_builds (id bigserial, partition_id int NOT NULL DEFAULT 100, PRIMARY KEY (id, partition_id));
CREATE TABLE p_ci_builds (id bigint NOT NULL DEFAULT nextval('ci_builds_id_seq'), partition_id int NOT NULL, PRIMARY KEY (id, partition_id)) PARTITION BY LIST (partition_id);
INSERT INTO ci_builds SELECT g, 100 FROM generate_series(1, 50) g;
ALTER TABLE p_ci_builds ATTACH PARTITION ci_builds FOR VALUES IN (100);
CREATE TABLE ci_builds_101 PARTITION OF p_ci_builds FOR VALUES IN (101);
INSERT INTO p_ci_builds SELECT g, 101 FROM generate_series(51, 90) g;
-- Drawn by a trigger, with two levels of partitions.
CREATE TABLE p_tags (id bigint NOT NULL, partition_id int NOT NULL, PRIMARY KEY (id, partition_id)) PARTITION BY LIST (partition_id);
CREATE TABLE mid PARTITION OF p_tags FOR VALUES IN (100, 102) PARTITION BY LIST (partition_id);
CREATE TABLE tags (id bigint NOT NULL, partition_id int NOT NULL DEFAULT 100, PRIMARY KEY (id, partition_id));
CREATE SEQUENCE tags_id_seq OWNED BY tags.id;
ALTER TABLE mid ATTACH PARTITION tags FOR VALUES IN (100);
CREATE TABLE tags_101 PARTITION OF p_tags FOR VALUES IN (101);
INSERT INTO p_tags SELECT g, 100 FROM generate_series(1, 30) g;
INSERT INTO p_tags SELECT g, 101 FROM generate_series(31, 70) g;
-- ci_builds_id_seq: advanced 91
-- tags_id_seq: advanced 71
