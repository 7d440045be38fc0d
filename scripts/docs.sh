#!/bin/sh
# Builds the docs into .cache/docs/html, with every warning an error; needs nothing but
# Python >= 3.10.
#
# PYTHON  the Python to use (otherwise the newest supported one on the machine)
set -eu

cd "$(dirname "$0")/.."
venv=.cache/docs/venv
. scripts/venv.sh

mkdir -p .cache/docs
prepare_venv docs
"$venv/bin/python" -m sphinx --fail-on-warning --keep-going --quiet docs .cache/docs/html "$@"
printf 'The site is in %s.\n' .cache/docs/html/index.html
