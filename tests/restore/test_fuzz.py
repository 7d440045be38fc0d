"""Whatever bytes a stranger hands in, the answer is a result or one sentence, and it comes.

A run of these tests is bounded and the same each time. RESTOREHOOKS_FUZZ=100000 makes it that many
examples a test, other ones each time.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import struct
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restorehooks.restore.archive.messages import check_exit, read_messages
from restorehooks.restore.dump import compression
from restorehooks.restore.dump.contents import MAGIC, read_contents
from restorehooks.restore.dump.copies import unpacked
from restorehooks.restore.dump.directory_proof import prove_files
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.dump.proof import check_trailer, prove_plain, prove_tar
from restorehooks.restore.errors import DumpError, ProgramError
from restorehooks.restore.script.buffer import LexingError
from restorehooks.restore.script.lexer import Lexer, Statement
from restorehooks.restore.script.options import ScriptOptions
from restorehooks.restore.script.rules import decide
from restorehooks.restore.script.verdicts import Refused
from restorehooks.restore.script.words import Words
from tests.support.databases import Database
from tests.support.dumps import dumped
from tests.support.servers import RunningServer

MANY = int(os.environ.get("RESTOREHOOKS_FUZZ", "0"))
bounded = settings(
    max_examples=MANY or 60,
    derandomize=not MANY,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


class Dumps(dict[str, bytes]):
    """Dumps by what they are, with a short name for hypothesis to print."""

    def __repr__(self) -> str:
        return "Dumps()"


@pytest.fixture(scope="module")
def genuine(server: RunningServer, folder: Path) -> Dumps:
    """Real dumps of every format, and compressed in every way, as bytes."""
    database = Database(server, f"fuzz_{os.getpid()}", None, [])
    server.execute(f"CREATE DATABASE {database.name}")
    try:
        database.execute(
            "CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t (x) VALUES ('a;''b');"
            "SELECT lo_from_bytea(0, 'abc'); GRANT SELECT ON t TO PUBLIC"
        )
        made = {}
        for form in ("custom", "tar", "plain"):
            made[form] = dumped(database, folder / form, form=form).read_bytes()
        directory = dumped(database, folder / "directory", form="directory")
        made["toc"] = (directory / "toc.dat").read_bytes()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as members:
            members.add(directory, "backup")
        made["packed"] = packed.getvalue()
    finally:
        database.disconnect()
        server.execute(f"DROP DATABASE {database.name}")
    return Dumps({**made, **{f"plain.{name}": pack(made["plain"]) for name, pack in _packers()}})


def _packers() -> Iterator[tuple[str, Any]]:
    yield from (("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress))
    for name, modules in {
        "zstd": ("compression.zstd", "backports.zstd"),
        "lz4": ("lz4.frame",),
    }.items():
        for module in modules:
            try:
                yield name, import_module(module).compress
            except ImportError:
                continue
            break


FORMS = ["custom", "tar", "plain", "packed", *(f"plain.{name}" for name, _ in _packers())]
ODD = st.sampled_from([
    b"", b"\x00", b"\xff" * 8, b"\x00\xff\xff\xff\x7f", b"\x01\x01\x00\x00\x00", MAGIC, b"\n\\.\n",
    b"-- Started on 2024-13-41 99:99:99\n", b"9" * 5000, "٣".encode() * 9, b"../../x", b"ustar",
    b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
])  # fmt: skip
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 40),
        st.one_of(ODD, st.binary(max_size=12)),
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, edits: Sequence[tuple[float, int, bytes]], near: bool) -> bytes:
    """Replace some bytes at some places, near the beginning or anywhere."""
    for place, count, new in edits:
        at = int(place * (min(len(content), 400) if near else len(content)))
        content = content[:at] + new + content[at + count :]
    return content


def looked_at(path: Path) -> str:
    """Do all that is done with a dump before a server is asked; return what it was."""
    try:
        dump = identify(path)
        if dump.format == "plain":
            check_trailer(dump)
            prove_plain(dump)
            return dump.format
        with unpacked(dump) as whole:
            if whole.format == "tar":
                prove_tar(whole)
            entries = read_contents(whole)
            if whole.format == "directory":
                prove_files(whole, entries)
        return dump.format
    except DumpError as error:
        return "refused" if str(error).strip() else "refused without a reason"


def test_real_dumps_are_what_they_are(genuine: Dumps, folder: Path) -> None:
    for form in FORMS:
        (folder / "real").write_bytes(genuine[form])
        wanted = "directory" if form == "packed" else form.partition(".")[0]
        assert looked_at(folder / "real") == wanted


@pytest.mark.parametrize("form", FORMS)
@bounded
@given(edits=EDITS, near=st.booleans(), cut=st.floats(0, 1.5))
def test_a_damaged_dump(
    genuine: Dumps, folder: Path, form: str, edits: Any, near: bool, cut: float
) -> None:
    content = edited(genuine[form], edits, near)
    (folder / "damaged").write_bytes(content[: int(cut * len(content))])
    assert looked_at(folder / "damaged") != "refused without a reason"


@bounded
@given(edits=EDITS, near=st.booleans(), rows=st.binary(max_size=60))
def test_a_damaged_directory(
    genuine: Dumps, folder: Path, edits: Any, near: bool, rows: bytes
) -> None:
    place = folder / "damaged.d"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder / "directory", place)
    (place / "toc.dat").write_bytes(edited(genuine["toc"], edits, near))
    next(place.glob("*.dat.gz")).write_bytes(rows)
    for listed in place.glob("blobs*.toc"):
        listed.write_bytes(edited(listed.read_bytes(), edits[:1], near))
    looked_at(place)


NUMBER = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-3, 3))
TEXT = st.one_of(ODD, st.binary(max_size=20), st.none())


@bounded
@given(
    version=st.tuples(st.sampled_from([1, 0, 2]), st.integers(8, 17), st.integers(0, 3)),
    sizes=st.tuples(st.sampled_from([4, 4, 4, 8, 0, 255]), st.sampled_from([8, 0, 255])),
    form=st.sampled_from([1, 3, 5, 9]),
    fields=st.lists(st.one_of(NUMBER, TEXT), max_size=80),
)
def test_a_header_made_up(
    folder: Path, version: Any, sizes: tuple[int, int], form: int, fields: list[Any]
) -> None:
    content = MAGIC + bytes([*version, *sizes, form])

    def number(value: int) -> bytes:
        bits = abs(value).to_bytes(255, "little")[: sizes[0]]
        return bytes([value < 0]) + bits

    for field in fields:
        if field is None:
            content += number(-1)
        elif isinstance(field, bytes):
            content += number(len(field)) + field
        else:
            content += number(field)
    (folder / "made_up").write_bytes(content)
    looked_at(folder / "made_up")


@bounded
@given(
    kind=st.sampled_from(sorted(compression._MAGIC)),
    content=st.binary(max_size=300),
    skipped=st.lists(st.integers(0, 2**32 - 1), max_size=3),
)
def test_a_compressed_file_made_up(
    folder: Path, kind: Any, content: bytes, skipped: list[int]
) -> None:
    frames = b"".join(b"\x50\x2a\x4d\x18" + struct.pack("<I", size % 9) for size in skipped)
    (folder / "packed").write_bytes(frames + compression._MAGIC[kind] + content)
    looked_at(folder / "packed")


SAID = st.lists(
    st.lists(
        st.sampled_from([
            "pg_restore: ", "error: ", "warning: ", "errors ignored on restore: ", "1", "9" * 5000,
            "٣", "could not execute query: ERROR:  ", "Command was: ", "CONTEXT: ",
            "SET transaction_timeout = 0;", "COMMENT ON EXTENSION ", "finished item 3 ",
            "from TOC entry 3; 1 2 TABLE x",
            "\x1b[2J", "\r", "\udcff", "processing item ", "while PROCESSING TOC:", "DETAIL: ", "x",
        ]),
        max_size=6,
    ).map("".join),
    max_size=12,
)  # fmt: skip


@bounded
@given(lines=SAID, code=st.integers(-70, 3), workers=st.integers(0, 3))
def test_what_pg_restore_says(lines: list[str], code: int, workers: int) -> None:
    with suppress(ProgramError):
        check_exit(read_messages(lines), code, workers)


SQL = st.lists(
    st.one_of(
        st.sampled_from([
            b"'", b'"', b"$$", b"$a$", b";", b"\\", b"\n", b"--", b"/*", b"*/", b"E'", b"U&'", b"(",
            b")", b"BEGIN ATOMIC ", b"END", b"CASE ", b"COPY t FROM stdin;\n", b"\n\\.\n", b"\\.",
            b"INSERT INTO t VALUES (", b"CREATE FUNCTION ", b"SELECT ", b"SET ", b"ALTER TABLE x ",
            b"OWNER TO ", b"GRANT ALL ON x TO y", b"\x00", b"\xff", b" ", b"\r", b"\\restrict a\n",
            b"CREATE DATABASE ", b"COMMENT ON ", b"SECURITY LABEL ", b"DROP ", b"a", b"1",
        ]),
        st.binary(max_size=5),
    ),
    max_size=30,
).map(b"".join)  # fmt: skip
OPTIONS = [
    ScriptOptions(),
    ScriptOptions(data_only=True),
    ScriptOptions(no_owner=True, no_privileges=True),
]


@bounded
@given(text=SQL, escapes=st.booleans(), options=st.sampled_from(OPTIONS))
def test_a_script(text: bytes, escapes: bool, options: ScriptOptions) -> None:
    lexer = Lexer(io.BytesIO(text))
    found = 0
    try:
        [*lexer.messages()]
        while piece := lexer.next(escapes):
            found += 1
            if isinstance(piece, Statement):
                words = Words(piece.text)
                assert len([*words]) <= len(piece.text)
                decide(piece.text, words, options, "utf-8")
                if words.first(1) == ["copy"] and lexer.at_line_end():
                    assert sum(map(len, lexer.copy_data())) <= len(text)
            assert found <= len(text)
    except (LexingError, Refused):
        pass
