"""Subject 1: every way to put sequences past their rows, in databases of 100 to 10,000 tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg

from benchmarks.competition import ROOT, Competitor, Contest, Died, command, compete
from benchmarks.latency import distance
from benchmarks.targets import Target
from restorehooks.embedded import Server

OURS = "restorehooks"
OUR_COMMAND = "resetsequences"
FLOOR = "floor: the reads alone"
DJANGO = "Django's way, a statement a model"
LOADDATA = "Django's way, in one transaction"
SNIPPET = "the usual snippet per model"
PIPED = "sqlsequencereset into psql"
WIKI = "the wiki's query into psql"

ROWS = 1_000
"""Rows of each table that is not empty."""
EMPTY = 4
"""One table in so many is empty, as some of every project are."""
ROUND_TRIP = 0.005
BATCH = 200
STATES = {"all healthy": 0, "one in 100 behind": 100, "all behind": 1}
"""What the sequences look like before: one in so many is behind, 0 for none."""

SOCKET, DISTANT = "socket", "5 ms round trip"
FULL = [
    (100, SOCKET, 9, [*STATES]),
    (1_000, SOCKET, 9, [*STATES]),
    (100, DISTANT, 5, [*STATES]),
    (1_000, DISTANT, 5, ["all healthy", "all behind"]),
    (10_000, SOCKET, 3, [*STATES]),
    (10_000, DISTANT, 1, ["all healthy"]),
]
"""Number of tables, how far away, rounds, states; the largest last, since ten thousand tables keep
autovacuum busy and leave nothing else in the server's buffers."""
QUICK = [(1_000, SOCKET, 3, [*STATES]), (1_000, DISTANT, 1, ["all healthy"])]


def _circumstances(state: str, over: str = SOCKET, tables: int = 1_000) -> dict[str, Any]:
    return {"tables": tables, "over": over, "sequences": state}


BOUND_BY_READS = (
    "the bare reads, needed in any case, take a third of Django's time, a sixth of it over two"
    " connections, and the catalogue's query before them a ninth"
)
"""Said of what no way of asking could reach on a server where one statement costs so little."""
KNOWN_BEFOREHAND = (
    "the floor knows beforehand which sequence numbers what, and forgets what it reads: to ask the"
    " catalogue takes two fifths of our time, and Python computes as long to judge and report"
)
BOUND_BY_WORK = (
    "the round trips, ten instead of more than a thousand, are the smaller part of what is left:"
    " the rest is the reads themselves"
)
BOUND_BY_MOVES = (
    "without any Python it would just be reached: of Django's 0.40 s the catalogue's query takes"
    " 46 ms on one core, the bare reads (103 ms) and the bare setvals (5 ms) 54 ms on two; to hold"
    " the sequences takes 9 ms more, and Python 60 ms, half of it while nothing else is to be done"
)
BOUND_BY_ONE_CORE = (
    "the server computes for 1.3 s and Python for 0.5 s, where the bare reads take 1.6 s: on two"
    " cores that are never idle it would be 0.9 s, and the catalogue's query (0.28 s), which is"
    " before all else, and the judging after it leave one of them idle"
)


TOO_MANY = "so many pages no longer fit into the server's buffers as they are by default"


def _targets() -> Iterator[Target]:
    healthy, behind = _circumstances("all healthy"), _circumstances("all behind")
    distant = _circumstances("all healthy", DISTANT)
    for peer in (DJANGO, LOADDATA):
        for what, circumstances, least, why in (
            ("1,000 tables, all healthy", healthy, 8, BOUND_BY_READS),
            ("1,000 tables, all behind", behind, 4, BOUND_BY_MOVES),
            ("1,000 tables, all healthy, 5 ms away", distant, 40, BOUND_BY_WORK),
        ):
            yield Target(
                f"{what}: {peer}", "sequences", circumstances, peer, OURS, least=least, why=why
            )
    yield Target(
        "1,000 tables, all healthy: the bare reads",
        "sequences", healthy, FLOOR, OURS, least=1, why=KNOWN_BEFOREHAND,
    )  # fmt: skip
    most = _circumstances("all healthy", tables=10_000)
    for peer, least in ((DJANGO, 5), (FLOOR, 1.54)):
        yield Target(
            f"10,000 tables, all healthy: {peer}",
            "sequences", most, peer, OURS, least=least, why=BOUND_BY_ONE_CORE,
        )  # fmt: skip


TARGETS = [*_targets()]


def cost_per_table(contests: Iterable[Contest], name: str = OURS) -> float | None:
    """Return what a table costs a competitor among 10,000, relative to one among 1,000."""
    found = {}
    for contest in contests:
        for tables in (1_000, 10_000):
            if contest.circumstances == _circumstances("all healthy", tables=tables):
                (its,) = [each for each in contest.results if each.name == name]
                found[tables] = median(its.seconds) / tables
    return found[10_000] / found[1_000] if len(found) == 2 else None


def contests(server: Server, *, quick: bool) -> Iterator[Contest]:
    """Run them all, each size in a process of its own with as many models as tables."""
    made = set()
    for tables, transport, rounds, states in QUICK if quick else FULL:
        name = f"sequences{tables}"
        if name not in made:
            make_database(server, name, tables)
            made.add(name)
        if transport == SOCKET:
            yield from _run(server, name, server.url(name), tables, transport, rounds, states)
            continue
        socket = f"{server.socket_dir}/.s.PGSQL.{server.port}"
        with distance(socket, ROUND_TRIP) as port:
            url = f"postgresql://postgres@127.0.0.1:{port}/{name}"
            yield from _run(server, name, url, tables, transport, rounds, states)


def _run(
    server: Server,
    name: str,
    url: str,
    tables: int,
    transport: str,
    rounds: int,
    states: list[str],
) -> Iterator[Contest]:
    arguments = [server.url(name), str(tables), transport, str(rounds), *states]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.sequences", *arguments],
        env={
            **os.environ,
            "PATH": f"{server.bindir}:{os.environ.get('PATH', os.defpath)}",
            "DATABASE_URL": url,
            "BENCH_MODELS": str(tables),
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
        },
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        check=True,
    )
    for line in process.stdout.splitlines():
        yield Contest.from_dict(json.loads(line))


def make_database(server: Server, name: str, tables: int) -> None:
    """Create a database with tables as Django makes them for its models, a thousand rows each."""
    server.create_database(name)
    with server.connect(name) as connection:
        for first in range(0, tables, BATCH):
            connection.execute("; ".join(_create(n) for n in _numbers(first, tables)))
        connection.execute("VACUUM (ANALYZE)")


def _numbers(first: int, tables: int) -> range:
    return range(first, min(first + BATCH, tables))


def _create(number: int) -> str:
    table = TABLE.format(name=f"shop_item{number}")
    return table if _is_empty(number) else table + LOAD.format(name=f"shop_item{number}", rows=ROWS)


def _is_empty(number: int) -> bool:
    return number % EMPTY == EMPTY - 1


TABLE = """
    CREATE TABLE {name} (
        id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        name varchar(100) NOT NULL, amount integer NOT NULL, created timestamptz NOT NULL)
"""
LOAD = """;
    INSERT INTO {name} SELECT n, 'item', n, '2026-01-01' FROM generate_series(1, {rows}) AS s (n)
"""


@dataclass
class Sequences:
    """The sequences of tables with rows, put behind and looked at from beside the competition."""

    connection: psycopg.Connection[Any]
    tables: int

    def __post_init__(self) -> None:
        names = [f"shop_item{n}_id_seq" for n in range(self.tables) if not _is_empty(n)]
        found = self.connection.execute(
            "SELECT oid FROM pg_class WHERE relname = ANY(%s) ORDER BY oid", [names]
        )
        oids = [oid for (oid,) in found]
        self._batches = [oids[first : first + BATCH] for first in range(0, len(oids), BATCH)]

    def put(self, one_in: int) -> None:
        """Let one in so many be as after a load of data alone, the others past their rows."""
        for oids in self._batches:
            behind = [bool(one_in) and number % one_in == 0 for number in range(len(oids))]
            self.connection.execute(
                "SELECT setval(oid::regclass, CASE WHEN behind THEN 1 ELSE %s END, NOT behind)"
                " FROM unnest(%s::oid[], %s::bool[]) AS t (oid, behind)",
                [ROWS, oids, behind],
            )

    def check(self) -> None:
        """Raise :exc:`Died` unless each stands just past its rows."""
        wrong = sum(
            self.connection.execute(
                "SELECT count(*) FROM unnest(%s::oid[]) AS t (oid)"
                " WHERE pg_sequence_last_value(oid) IS DISTINCT FROM %s",
                [oids, ROWS],
            ).fetchone()[0]  # type: ignore[index]
            for oids in self._batches
        )
        if wrong:
            raise Died(f"left {wrong} sequences behind")


def competitors(sequences: Sequences, tables: int, one_in: int) -> list[Competitor]:
    """Return everything that is compared, on Django's default database."""
    from django.db import connection

    def fresh() -> None:
        """A new connection knows no table yet, as in a real run; opening it is not timed."""
        sequences.put(one_in)
        connection.close()
        connection.ensure_connection()

    def behind() -> None:
        sequences.put(one_in)

    check, manage = sequences.check, [sys.executable, "-m", "benchmarks.project.manage"]
    psql, environ = _psql()
    wiki = [*psql, "-c", WIKI_QUERY]
    return [
        Competitor(OURS, "reset_sequences()", _ours, fresh, check),
        Competitor(FLOOR, FLOOR_READS, lambda: _floor(tables), behind),
        Competitor(DJANGO, DJANGO_CALL, _django, fresh, check),
        Competitor(LOADDATA, f"with atomic(): {DJANGO_CALL}", _loaddata, fresh, check),
        Competitor(SNIPPET, SNIPPET_STATEMENT, _snippet, fresh, check),
        Competitor(
            OUR_COMMAND,
            "manage.py resetsequences",
            lambda: command([*manage, "resetsequences"], {}),
            behind,
            check,
        ),
        Competitor(
            PIPED,
            "manage.py sqlsequencereset shop | psql",
            lambda: command([*manage, "sqlsequencereset", "shop"], environ, into=psql),
            behind,
            check,
        ),
        Competitor(
            WIKI,
            f'psql -c "{WIKI_QUERY}" | psql',
            lambda: command(wiki, environ, into=psql),
            behind,
            check,
        ),
    ]


def _ours() -> None:
    from restorehooks import reset_sequences

    reset_sequences()


def _floor(tables: int) -> float:
    """Read every sequence and every MAX by bare libpq, and look at nothing."""
    from time import perf_counter

    from django.db import connection
    from psycopg import pq

    params = connection.get_connection_params()
    conninfo = psycopg.conninfo.make_conninfo(
        **{key: params[key] for key in ("host", "port", "user", "dbname") if params.get(key)}
    )
    bare = pq.PGconn.connect(conninfo.encode())
    began = perf_counter()
    for first in range(0, tables, BATCH):
        reads = [FLOOR_READS.replace("#", str(n)) for n in _numbers(first, tables)]
        bare.send_query("; ".join(reads).encode())
        while result := bare.get_result():
            if result.status != pq.ExecStatus.TUPLES_OK:
                raise Died(result.error_message.decode())
    seconds = perf_counter() - began
    bare.finish()
    return seconds


FLOOR_READS = "SELECT last_value, is_called FROM shop_item#_id_seq; SELECT max(id) FROM shop_item#"


DJANGO_CALL = "cursor.execute(each) for connection.ops.sequence_reset_sql(no_style(), models)"


def _django() -> None:
    from django.apps import apps
    from django.core.management.color import no_style
    from django.db import connection

    models = list(apps.get_app_config("shop").get_models())
    with connection.cursor() as cursor:
        for line in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(line)


def _loaddata() -> None:
    """Django's way in the one transaction that ``loaddata`` does it in."""
    from django.db import DatabaseError, transaction

    try:
        with transaction.atomic():
            _django()
    except DatabaseError as error:
        raise Died(str(error).splitlines()[0]) from None


SNIPPET_STATEMENT = (
    "SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce(max(id), 1)) FROM {table}"
)


def _snippet() -> None:
    from django.apps import apps
    from django.db import connection

    with connection.cursor() as cursor:
        for model in apps.get_app_config("shop").get_models():
            cursor.execute(SNIPPET_STATEMENT.format(table=model._meta.db_table))


WIKI_QUERY = (
    "SELECT format('SELECT setval(%L, coalesce(max(%I), 1)) FROM %I.%I;',"
    " s.oid::regclass, a.attname, n.nspname, t.relname)"
    " FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i')"
    " JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace"
    " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid"
    " WHERE s.relkind = 'S'"
)


def _psql() -> tuple[list[str], dict[str, str]]:
    from django.db import connection

    settings = connection.settings_dict
    arguments = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]
    host = settings["HOST"] or settings["OPTIONS"]["host"]
    port = str(settings["PORT"] or settings["OPTIONS"]["port"])
    return [*arguments, "-h", host, "-p", port, "-d", settings["NAME"]], {}


def main(beside: str, tables: str, transport: str, rounds: str, *states: str) -> None:
    """Compare in one database, and print a line of JSON for each contest."""
    import django

    django.setup()
    with psycopg.connect(beside, autocommit=True) as connection:
        sequences = Sequences(connection, int(tables))
        _floor(int(tables))  # nobody is to be the first one to find the files cold
        for state in states:
            circumstances = {"tables": int(tables), "over": transport, "sequences": state}
            field = competitors(sequences, int(tables), STATES[state])
            contest = compete("sequences", circumstances, field, int(rounds))
            print(json.dumps(contest.as_dict()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
