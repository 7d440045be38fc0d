#!/bin/sh
# Runs lint, type checks and all tests; needs nothing but Python >= 3.10.
#
#   scripts/test.sh                     lint, types, tests
#   scripts/test.sh tests/test_x.py -k  the tests alone, with these arguments for pytest
#
# PYTHON     the Python to use (otherwise the newest supported one on the machine)
# PG_BINDIR  the folder of the PostgreSQL server to test on (otherwise one found on the machine,
#            otherwise one that is installed into the virtual environment)
# RESTOREHOOKS_TEST_URL  a server to test on instead; its superuser's URL
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
    # One process for each core, but for a few tests that somebody wants to watch.
    [ $# -gt 0 ] || set -- --numprocesses=auto
    step "$venv/bin/python" -m pytest "$@"
}

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

main "$@"
