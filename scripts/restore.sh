#!/bin/sh
# Restores a dump beside the live database, repairs its sequences, and swaps it in.
#
#   scripts/restore.sh backup.dump [options of restoredb]
#
# In a Django project this runs manage.py: the file that $DJANGO_MANAGE names, or the one in the
# current folder. Without a project, DATABASE_URL names the database.
#
# PYTHON  the Python to use (by default python3)
set -eu

python=${PYTHON:-$(command -v python3 || command -v python || true)}
if [ -z "$python" ]; then
    echo "restore.sh: no Python was found: install Python 3.10 or later, or set PYTHON." >&2
    exit 2
fi

manage=${DJANGO_MANAGE:-manage.py}
if [ -n "${DJANGO_MANAGE:-}" ] && [ ! -f "$manage" ]; then
    echo "restore.sh: DJANGO_MANAGE names $manage, which does not exist." >&2
    exit 2
fi

if [ -f "$manage" ]; then
    exec "$python" "$manage" restoredb "$@"
fi
if [ -z "${PYTHON:-}" ] && command -v restorehooks >/dev/null 2>&1; then
    exec restorehooks restoredb "$@"
fi
if ! "$python" -c 'import restorehooks' 2>/dev/null; then
    echo "restore.sh: $python does not have restorehooks: pip install django-restorehooks, or set PYTHON." >&2
    exit 2
fi
exec "$python" -m restorehooks restoredb "$@"
