#!/bin/sh
# Makes shop.dump, the dump that scripts/demo.sh restores, out of shop.sql.
#
#   PG_BINDIR=/path/to/postgresql-14/bin scripts/demo/make_dump.sh
#
# The oldest supported version of PostgreSQL writes it, so that every other can read it.
set -eu

cd "$(dirname "$0")"
work=$(mktemp -d)
chmod 711 "$work"
trap 'kill "$server" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
mkfifo "$work/url"
"${PYTHON:-python3}" serve.py "$work/server" made >"$work/url" &
server=$!
{
    read -r bindir
    read -r url
} <"$work/url"
"$bindir/psql" --quiet --dbname="$url" --set=ON_ERROR_STOP=1 --file=shop.sql
"$bindir/pg_dump" --dbname="$url" --format=custom --no-owner --file=shop.dump
