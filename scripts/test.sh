#!/bin/sh
# Runs lint, type checks and all tests; needs nothing but Python >= 3.10.
#
#   scripts/test.sh                     lint, types, tests
#   scripts/test.sh tests/test_x.py -k  the tests alone, with these arguments for pytest
#
# PYTHON     the Python to use (by default the newest supported one on the machine)
# PG_BINDIR  the folder of the PostgreSQL programs to test with, or "embedded" for those of the
#            extra of that name (by default the machine's; where it has none, the extra's)
# RESTOREHOOKS_TEST_URL  the URL of a superuser, to test on a server that runs already
set -eu

cd "$(dirname "$0")/.."
venv=.venv
. scripts/venv.sh
# These tests drop databases and kill servers: never those of the developer.
unset DATABASE_URL

main() {
    prepare_venv test,lint
    if [ $# -eq 0 ]; then
        step "$venv/bin/ruff" check .
        step "$venv/bin/ruff" format --check .
        step "$venv/bin/mypy"
        step "$venv/bin/shellcheck" --external-sources scripts/*.sh scripts/demo/*.sh .ci/run
    fi
    # The whole suite runs in one process for each core, and each file's servers and browser are
    # started once; a few tests named run in one.
    [ $# -gt 0 ] || set -- --numprocesses=auto --dist=loadfile
    step "$venv/bin/python" -m pytest "$@"
}

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

main "$@"
