#!/bin/sh
# Shows what this project is for, on a machine with nothing but Python >= 3.10: a dump whose
# sequences are behind their rows is restored with pg_restore, and then with scripts/restore.sh.
#
# Everything that it installs or writes is in .demo and in a temporary folder.
set -eu

cd "$(dirname "$0")/.."
venv=.demo/venv
. scripts/venv.sh
dump=scripts/demo/shop.dump
unset DATABASE_URL DJANGO_MANAGE

main() {
    mkdir -p .demo
    prepare_venv embedded
    unset PYTHON  # restore.sh would use it
    serve
    PATH="$(pwd)/$venv/bin:$bindir:$PATH"
    naively
    with_restorehooks
}

# A private PostgreSQL in a temporary folder, which ends with this script.
serve() {
    work=$(mktemp -d)
    chmod 711 "$work"
    trap 'kill "$server" 2>/dev/null; wait; rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    mkfifo -m 600 "$work/answers"
    "$venv/bin/python" scripts/demo/serve.py "$work/server" naive shop >"$work/answers" &
    server=$!
    {
        read -r bindir
        read -r naive
        read -r shop
    } <"$work/answers"
}

naively() {
    say 'A dump is restored with pg_restore, and somebody places an order.'
    run pg_restore --dbname="$naive" "$dump"
    fails psql "$naive" --command="$order"
    say 'The rows are there, but their ids came with the dump: the sequence still stands before them.'
}

with_restorehooks() {
    say 'The same dump with scripts/restore.sh, and the same order.'
    export DATABASE_URL="$shop"
    run scripts/restore.sh "$dump"
    run psql "$shop" --command="$order"
    say 'No sequence is behind:'
    run restorehooks resetsequences --check --verbosity=2
}

order='INSERT INTO shop_order (customer_id) VALUES (7) RETURNING id'

say() {
    printf '\n# %s\n' "$1"
}

# Shows a command, with the name for the database instead of its URL, and runs it.
run() {
    printf '$'
    for word in "$@"; do
        case $word in
            *"$naive") word=${word%"$naive"}naive ;;
            *"$shop") word=${word%"$shop"}shop ;;
        esac
        case $word in
            *' '*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@" 2>&1
}

fails() {
    if run "$@"; then
        printf 'That should have failed.\n' >&2
        exit 1
    fi
}

main
