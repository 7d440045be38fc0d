#!/bin/sh
# Runs restorehooks and what a user would pick instead side by side, and compares; needs nothing
# but Python >= 3.10.
#
#   scripts/bench.sh                     everything, and the docs' table and picture from it
#   scripts/bench.sh --quick             smaller and fewer, under 5 minutes; the table is printed
#   scripts/bench.sh [--quick] SUBJECT   sequences, hooks or restores alone
#
# PYTHON     the Python to use (otherwise the newest supported one on the machine)
# PG_BINDIR  the folder of the PostgreSQL programs to use (otherwise some found on the machine,
#            otherwise some that are installed into the virtual environment)
set -eu

cd "$(dirname "$0")/.."
venv=.cache/benchmarks/venv
. scripts/venv.sh
# The databases are made here, on a server of its own: never the developer's.
unset DATABASE_URL

mkdir -p .cache/benchmarks
prepare_venv bench
exec "$venv/bin/python" -m benchmarks "$@"
