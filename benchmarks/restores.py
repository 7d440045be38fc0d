"""Subject 3: a whole safe restore beside bare pg_restore, psql and the other packages."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, thread_time
from typing import Any

import psycopg

from benchmarks.competition import ROOT, Competitor, Contest, Died, Fact, compete
from benchmarks.targets import Target
from restorehooks.embedded import Server
from restorehooks.programs import embedded_folder
from restorehooks.restore.dump.contents import read_contents
from restorehooks.restore.dump.directory_proof import prove_files
from restorehooks.restore.dump.identify import identify

OURS = "restoredb"
OURS_ARCHIVE = "restoredb of the archive"
SERIAL = "pg_restore, then ANALYZE"
PARALLEL = "pg_restore -j, then ANALYZE"
PSQL = "psql -1, then ANALYZE"
PGCLONE = "django-pgclone"
DBBACKUP = "django-dbbackup"
JOBS = str(os.cpu_count() or 2)
ARCHIVE = {"dump": "a custom archive"}
PLAIN = {"dump": "a plain dump"}
SHOWN = [ARCHIVE, PLAIN]
MEMORY = 100
"""MB that Python may take at its peak, whatever the size of the dump."""
CLIENTS = 8
SEVERAL_TABLES = {"customer": 300, "product": 20, "purchase": 1_200, "line": 3_500, "event": 900}
"""Rows of each table for a MB of tables and indexes, about."""
ONE_TABLE = {"customer": 120, "product": 8, "purchase": 480, "line": 5_000, "event": 300}
SHAPES = {"several tables": SEVERAL_TABLES, "nearly all in one": ONE_TABLE}
SEVERAL, ONE = SHAPES
FULL = [(1_000, SEVERAL, 3), (400, SEVERAL, 3), (400, ONE, 3), (40, SEVERAL, 5)]
"""MB that the database has about, how its rows are spread, and how many rounds there are."""
NEWER = [(1_000, SEVERAL, 3), (400, SEVERAL, 3), (40, SEVERAL, 5)]
QUICK = [(40, SEVERAL, 2)]
PASSWORD = "benchmarks"
CORES = (
    "pg_restore -j keeps two cores 84% busy, and restoredb takes 1.16 times its CPU time: Django's "
    "start, a database of its own, the proof and the swap"
)
LOCKS = (
    "a key and a foreign key lock their table: those of one table are built one after the other, "
    "on one core, and the others' index builds use both cores, too"
)
EVEN = (
    "one round of three was disturbed; on PostgreSQL 18 it is 1.01, and on the client both take "
    "the same CPU time"
)
SMALL = (
    "of 1.3 s Django's start takes 0.4, a new database, fifteen connections and the swap 0.4, "
    "however small the dump is"
)


def _target(
    what: str, dump: dict[str, Any], to: str, most: float, why: str, name: str = OURS
) -> Target:
    return Target(what, "restores", dump, name, to, most=most, why=why)


TARGETS = [
    _target("restoredb, to bare pg_restore", ARCHIVE, SERIAL, 0.75, CORES),
    _target("restoredb, to pg_restore -j", ARCHIVE, PARALLEL, 0.88, CORES),
    _target("the same, nearly all in one table", ARCHIVE | {"rows": ONE}, PARALLEL, 0.88, LOCKS),
    _target("restoredb, to django-pgclone", ARCHIVE, PGCLONE, 1, CORES),
    _target("the same, 40 MB", ARCHIVE | {"MB": 40}, PGCLONE, 1, SMALL),
    _target("restoredb, to django-dbbackup", ARCHIVE, DBBACKUP, 1, CORES),
    _target("the same, 40 MB", ARCHIVE | {"MB": 40}, DBBACKUP, 1, SMALL),
    _target("restoredb of a plain dump, to psql -1", PLAIN, PSQL, 0.75, CORES),
    _target("the same, nearly all in one table", PLAIN | {"rows": ONE}, PSQL, 0.75, LOCKS),
    _target("the same, 40 MB", PLAIN | {"MB": 40}, PSQL, 1, SMALL),
    _target("restoredb of a plain dump, to the archive", PLAIN, OURS_ARCHIVE, 1.05, EVEN),
]


def contests(server: Server, *, quick: bool) -> Iterator[Contest | Fact]:
    """Dump one realistic database, in several sizes, and restore it in every way there is.

    Where the embedded PostgreSQL is another one than the server's, there, too.
    """
    yield from _on(server, QUICK if quick else FULL, more=True)
    other = embedded_folder()
    if other and other != server.bindir and not quick:
        options = {"listen_addresses": "127.0.0.1", "port": str(server.port + 1)}
        with TemporaryDirectory(prefix="restorehooks-benchmarks-") as folder:
            Path(folder).chmod(0o711)
            with Server(Path(folder) / "server", other, options) as newer:
                yield from _on(newer, NEWER, more=False)


def _on(
    server: Server, sizes: list[tuple[int, str, int]], *, more: bool
) -> Iterator[Contest | Fact]:
    release = {"PostgreSQL": f"PostgreSQL {server.version // 10000}"}
    for megabytes, shape, rounds in sizes:
        make_database(server, "source", megabytes, SHAPES[shape])
        where = {**release, "MB": megabytes, "rows": shape}
        with TemporaryDirectory(prefix="restorehooks-dumps-") as folder:
            bench = Bench(server, Path(folder))
            for dump, competitors in ((ARCHIVE, _of_an_archive), (PLAIN, _of_a_plain_dump)):
                about = {**where, **dump}
                yield compete("restores", about, list(competitors(bench)), rounds, patience=600)
            if more:
                yield _memory(bench)
                yield _proof(bench)
                yield _downtime(bench, rounds)
        more = False


def make_database(
    server: Server, name: str, megabytes: int, rows: dict[str, int] = SEVERAL_TABLES
) -> None:
    """Create a database of a shop: foreign keys, indexes, text, jsonb, two large objects."""
    with server.connect() as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
    server.create_database(name)
    with server.connect(name) as connection:
        connection.execute(SHOP.format_map({table: n * megabytes for table, n in rows.items()}))
        connection.execute("VACUUM (ANALYZE)")


SHOP = """
CREATE TABLE customer (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL,
    email text NOT NULL UNIQUE, profile jsonb NOT NULL, joined timestamptz NOT NULL);
CREATE TABLE product (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, sku text NOT NULL UNIQUE,
    description text NOT NULL, price numeric(10, 2) NOT NULL, tags jsonb NOT NULL);
CREATE TABLE purchase (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customer, placed timestamptz NOT NULL,
    state text NOT NULL, note text);
CREATE TABLE line (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    purchase_id bigint NOT NULL REFERENCES purchase, product_id bigint NOT NULL REFERENCES product,
    quantity integer NOT NULL, price numeric(10, 2) NOT NULL);
CREATE TABLE event (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL,
    customer_id bigint REFERENCES customer, payload jsonb NOT NULL);

INSERT INTO customer (name, email, profile, joined)
    SELECT 'Customer ' || n, 'customer' || n || '@example.org',
           jsonb_build_object('city', md5((n % 500)::text), 'vip', n % 20 = 0, 'visits', n % 97),
           timestamptz '2020-01-01' + n * interval '1 minute'
    FROM generate_series(1, {customer}) AS s (n);
INSERT INTO product (sku, description, price, tags)
    SELECT 'SKU-' || n, repeat(md5(n::text) || ' ', 20), n % 900 + 0.99,
           jsonb_build_array(md5((n % 50)::text), md5((n % 70)::text))
    FROM generate_series(1, {product}) AS s (n);
INSERT INTO purchase (customer_id, placed, state, note)
    SELECT n % ({customer}) + 1, timestamptz '2021-01-01' + n * interval '20 seconds',
           (ARRAY['new', 'paid', 'sent', 'returned'])[n % 4 + 1],
           CASE WHEN n % 5 = 0 THEN repeat(md5(n::text), 3) END
    FROM generate_series(1, {purchase}) AS s (n);
INSERT INTO line (purchase_id, product_id, quantity, price)
    SELECT n % ({purchase}) + 1, n * 7 % ({product}) + 1, n % 5 + 1, n % 900 + 0.99
    FROM generate_series(1, {line}) AS s (n);
INSERT INTO event (at, customer_id, payload)
    SELECT timestamptz '2022-01-01' + n * interval '7 seconds', n % ({customer}) + 1,
           jsonb_build_object('kind', n % 12, 'page', md5((n % 1000)::text), 'ref', md5(n::text))
    FROM generate_series(1, {event}) AS s (n);

CREATE INDEX ON purchase (customer_id);
CREATE INDEX ON purchase (state, placed);
CREATE INDEX ON line (purchase_id);
CREATE INDEX ON line (product_id);
CREATE INDEX ON event (customer_id);
CREATE INDEX ON event USING gin (payload jsonb_path_ops);
SELECT lo_from_bytea(0, decode(repeat(md5('photo'), {customer} * 2), 'hex'));
SELECT lo_from_bytea(0, decode(repeat(md5('film'), {customer} * 4), 'hex'));
"""


@dataclass
class Bench:
    """The dumps, and how each competitor is run on a server that also listens on TCP."""

    server: Server
    folder: Path

    def __post_init__(self) -> None:
        with self.server.connect() as connection:
            connection.execute(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
        self.archive, self.plain = self.folder / "bench.dump", self.folder / "bench.sql"
        self.packed = self.folder / "bench.sql.gz"
        for arguments in (["-Fc", "-f", self.archive], ["-Fp", "-f", self.plain]):
            self.run(["pg_dump", "-d", self.url("source"), *map(str, arguments)])
        with self.plain.open("rb") as read, gzip.open(self.packed, "wb", 1) as written:
            shutil.copyfileobj(read, written)
        self.live()
        self.restore(self.archive)

    def url(self, database: str) -> str:
        """Return the URL over TCP: not every package takes a Unix socket."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.server.port}/{database}"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every competitor."""
        return {
            **os.environ,
            "PATH": f"{self.server.bindir}:{os.environ.get('PATH', os.defpath)}",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "DJANGO_MANAGE": "benchmarks/project/manage.py",
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "DATABASE_URL": self.url("live"),
            "BENCH_MODELS": "0",
            "BENCH_STORAGE": str(self.folder),
        }

    def run(self, arguments: list[str], *, stdin: Path | None = None, app: str = "") -> float:
        """Run a program and return the MB that its largest process took."""
        with (stdin or Path(os.devnull)).open("rb") as given:
            process = subprocess.Popen(
                arguments,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**self.environ, "BENCH_APP": app},
                cwd=ROOT,
                text=True,
            )
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Died((said.strip().splitlines() or ["it said nothing"])[-1])
        return usage.ru_maxrss / 1024

    def restore(self, dump: Path, *, stdin: bool = False) -> float:
        """Restore with restorehooks and return the MB that Python took."""
        source = "-" if stdin else str(dump)
        arguments = ["scripts/restore.sh", source, "--no-input", "-v0"]
        return self.run(arguments, stdin=dump if stdin else None)

    def analyze(self) -> None:
        """Gather statistics as restoredb does."""
        self.run(["psql", "-q", "-d", self.url("bare"), "-c", "ANALYZE"])

    def bare(self) -> None:
        """Give the bare programs an empty database; it is not their time."""
        with self.server.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS bare WITH (FORCE)")
            connection.execute("CREATE DATABASE bare TEMPLATE template0")
            self._settle(connection)

    def live(self) -> None:
        """Leave a live database and none kept from before."""
        self.server.create_database("live")
        with self.server.connect() as connection:
            others = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^live.'")
            for (name,) in others.fetchall():
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            self._settle(connection)

    def _settle(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("CHECKPOINT")

    def check(self, database: str) -> Callable[[], None]:
        """Return what raises :exc:`Died` unless every row has come."""

        def check() -> None:
            counts = []
            for name in ("source", database):
                with self.server.connect(name) as connection:
                    counts.append(connection.execute(COUNTS).fetchall())
            if counts[0] != counts[1]:
                raise Died(f"lost rows: {counts[1]} instead of {counts[0]}")

        return check


COUNTS = (
    "SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM product),"
    " (SELECT count(*) FROM purchase), (SELECT count(*) FROM line), (SELECT count(*) FROM event),"
    " (SELECT count(*) FROM pg_largeobject_metadata)"
)


def _of_an_archive(bench: Bench) -> Iterator[Competitor]:
    manage = [sys.executable, "-m", "benchmarks.project.manage"]
    serial = ["pg_restore", "-d", bench.url("bare")]
    yield _ours(bench, bench.archive)
    yield _bare(bench, SERIAL, [*serial, str(bench.archive)])
    yield _bare(bench, PARALLEL, [*serial, "-j", JOBS, str(bench.archive)])
    yield Competitor(
        PGCLONE,
        "manage.py pgclone restore bench.dump",
        lambda: _run(bench, [*manage, "pgclone", "restore", "bench.dump"], "pgclone"),
        bench.live,
        bench.check("live"),
    )
    yield Competitor(
        DBBACKUP,
        "manage.py dbrestore --noinput --input-path bench.dump",
        lambda: _run(
            bench,
            [*manage, "dbrestore", "--noinput", "--input-path", str(bench.archive)],
            "dbbackup",
        ),
        bench.live,
        bench.check("live"),
    )


def _of_a_plain_dump(bench: Bench) -> Iterator[Competitor]:
    psql = ["psql", "-Xq1", "-v", "ON_ERROR_STOP=1", "-d", bench.url("bare"), "-f"]
    yield _ours(bench, bench.plain)
    yield _ours(bench, bench.archive, OURS_ARCHIVE)
    yield _bare(bench, PSQL, [*psql, str(bench.plain)])


def _ours(bench: Bench, dump: Path, name: str = OURS) -> Competitor:
    return Competitor(
        name,
        "scripts/restore.sh DUMP --no-input",
        lambda: _nothing(bench.restore(dump)),
        bench.live,
        bench.check("live"),
    )


def _bare(bench: Bench, name: str, arguments: list[str]) -> Competitor:
    def run() -> None:
        bench.run(arguments)
        bench.analyze()

    words = [Path(word).name if "/" in word else word for word in arguments]
    shown = f"{' '.join(words)} && psql -c ANALYZE"
    return Competitor(name, shown, run, bench.bare, bench.check("bare"))


def _run(bench: Bench, arguments: list[str], app: str) -> None:
    bench.run(arguments, app=app)


def _nothing(megabytes: float) -> None:
    """Leave the time to be taken from outside."""


def _memory(bench: Bench) -> Fact:
    found = {}
    for what, dump, stdin in (
        ("custom", bench.archive, False),
        ("plain", bench.plain, False),
        ("gzip from stdin", bench.packed, True),
    ):
        bench.live()
        found[what] = bench.restore(dump, stdin=stdin)
    shown = ", ".join(f"{what} {megabytes:.0f} MB" for what, megabytes in found.items())
    what = "peak memory of the largest process of a restore"
    return Fact("restores", what, f"under {MEMORY} MB", shown, max(found.values()) < MEMORY)


PROOF = 0.03
"""Share of a restore's CPU time that the proof of a directory archive may take at most."""


PACKED = (
    "whether a gzip file is whole is seen once it is decompressed, and that alone is five sixths "
    "of it"
)


def _proof(bench: Bench) -> Fact:
    """Measure what it costs to read a directory archive to its end, which is done beside the load.

    In CPU time, since how much of it is waited for depends on how busy the cores are.
    """
    found: dict[str, float] = {}
    for what in ("gzip", "none"):
        folder = bench.folder / f"bench.{what}"
        level = ["-Z", "0"] if what == "none" else []
        bench.run(["pg_dump", "-Fd", "-d", bench.url("source"), "-f", str(folder), *level])
        dump = identify(folder)
        began = thread_time()
        prove_files(dump, read_contents(dump))
        proof = thread_time() - began
        bench.live()
        before = _cpu_seconds(bench.server)
        bench.restore(folder)
        found[what] = proof / (_cpu_seconds(bench.server) - before)
    shown = ", ".join(f"{what} {share:.1%}" for what, share in found.items())
    what = "CPU time of the proof of a directory archive, of that of its whole restore"
    return Fact("restores", what, f"under {PROOF:.0%}", shown, max(found.values()) < PROOF, PACKED)


def _cpu_seconds(server: Server) -> float:
    """Return the CPU time of a server, its sessions that have ended, and all we have run."""
    pid = (server.data / "cluster" / "postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") + ours.ru_utime + ours.ru_stime


def _downtime(bench: Bench, rounds: int) -> Fact:
    """Measure how long no client sees a database while it is swapped under eight of them."""
    gaps = []
    for _ in range(rounds):
        bench.live()
        stop, answered, last = threading.Event(), threading.Lock(), [monotonic(), 0.0]
        clients = [
            threading.Thread(target=_client, args=(bench, stop, answered, last))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            bench.restore(bench.archive)
        finally:
            stop.set()
            for client in clients:
                client.join()
        gaps.append(last[1] * 1000)
    shown = f"{median(gaps):.0f} ms ({min(gaps):.0f} to {max(gaps):.0f})"
    what = f"longest time without an answer to any of {CLIENTS} reconnecting clients"
    return Fact("restores", what, "as little as possible", shown, None)


def _client(
    bench: Bench, stop: threading.Event, answered: threading.Lock, last: list[float]
) -> None:
    """Connect, ask, and connect again when that fails; keep the longest time between answers."""
    while not stop.is_set():
        try:
            with psycopg.connect(bench.url("live"), autocommit=True) as connection:
                while not stop.is_set():
                    connection.execute("SELECT 1")
                    with answered:
                        now = monotonic()
                        last[:] = [now, max(last[1], now - last[0])]
                    stop.wait(0.005)
        except psycopg.OperationalError:  # noqa: PERF203 - what is to be lived through
            stop.wait(0.002)
