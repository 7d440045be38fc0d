-- A child's column owns the sequence, and nothing has a default.
CREATE TABLE parent (id bigint);
CREATE TABLE child (id bigint) INHERITS (parent);
CREATE TABLE other () INHERITS (parent);
CREATE SEQUENCE s OWNED BY child.id;
INSERT INTO child VALUES (4); INSERT INTO other VALUES (40); INSERT INTO parent VALUES (41);
-- s: advanced 42
