#!/bin/sh
# Restore a dump beside the live database, repair its sequences, and put it in place.
#
#   scripts/restore.sh backup.dump [options of restoredb]
#
# With a Django project it is manage.py that does it: the one $DJANGO_MANAGE names, or the one in
# the current directory. Without one, DATABASE_URL says which database.
set -eu

python=${PYTHON:-$(command -v python3 || command -v python || true)}
if [ -z "$python" ]; then
    echo "restore.sh: Python is needed and was not found; set PYTHON to it." >&2
    exit 2
fi

manage=${DJANGO_MANAGE:-manage.py}
if [ -n "${DJANGO_MANAGE:-}" ] && [ ! -f "$manage" ]; then
    echo "restore.sh: DJANGO_MANAGE is $manage, and there is no such file." >&2
    exit 2
fi

if [ -f "$manage" ]; then
    exec "$python" "$manage" restoredb "$@"
fi
if [ -z "${PYTHON:-}" ] && command -v restorehooks >/dev/null 2>&1; then
    exec restorehooks restoredb "$@"
fi
if ! "$python" -c 'import restorehooks' 2>/dev/null; then
    echo "restore.sh: $python has no restorehooks: pip install django-restorehooks, or set PYTHON." >&2
    exit 2
fi
exec "$python" -m restorehooks restoredb "$@"
