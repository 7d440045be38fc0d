#!/bin/sh
# Restores a dump beside the live database, repairs its sequences, and swaps it in.
#
#   restore.sh backup.dump [options of restoredb]
#
# In a Django project this runs manage.py: the file that $DJANGO_MANAGE names, or the one in the
# current folder. Without a project, DATABASE_URL names the database.
#
# PYTHON  the Python to use (by default the one that this script was installed with, else python3)
set -eu

here=$(dirname -- "$0")
manage=${DJANGO_MANAGE:-manage.py}

main() {
    find_python
    if [ -n "${DJANGO_MANAGE:-}" ] && [ ! -f "$manage" ]; then
        refuse "DJANGO_MANAGE names $manage, which does not exist."
    fi
    if [ -f "$manage" ]; then
        run restorehooks.management.manage_py "$manage" "$@"
    fi
    if [ -z "${PYTHON:-}" ] && [ ! -x "$here/restorehooks" ] &&
        command -v restorehooks >/dev/null 2>&1; then
        exec restorehooks restoredb "$@"
    fi
    run restorehooks restoredb "$@"
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        python=$PYTHON
    elif [ -x "$here/restorehooks" ] && [ -x "$here/python" ]; then
        python=$here/python
    else
        python=$(command -v python3 || command -v python || true)
    fi
    [ -n "$python" ] || refuse "no Python was found: install Python 3.10 or later, or set PYTHON."
}

# Runs a module of the package. To ask for the package beforehand would start Python twice.
# Nothing is imported from the current folder, which may have come with the dump, unless it is the
# source that this script is in, and no other user's to write to.
run() {
    source=$(cd -- "$here/.." && pwd -P)
    [ "$source" = "$(pwd -P)" ] || source=
    exec "$python" -c '
import sys
python, source, module = sys.argv[1:4]
del sys.argv[1:4]
if sys.path[:1] == [""]:
    del sys.path[0]
import os
if source and os.path.isfile(os.path.join(source, "restorehooks", "__main__.py")):
    status = os.stat(source)
    if os.name != "posix" or (status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o002):
        sys.path.insert(0, source)
import runpy
try:
    import restorehooks
except Exception:
    sys.stderr.write("restore.sh: %s does not have restorehooks: pip install "
        "\"django-restorehooks[binary]\", or set PYTHON.\n" % python)
    sys.exit(2)
runpy.run_module(module, run_name="__main__", alter_sys=True)
' "$python" "$source" "$@"
}

refuse() {
    printf 'restore.sh: %s\n' "$1" >&2
    exit 2
}

main "$@"
