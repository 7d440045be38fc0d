"""What a file is, is known by its content; what is no whole dump is refused in one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from restorehooks.restore.dump.copies import spooled, unpacked
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.dump.proof import check_trailer, open_plain, prove_plain
from restorehooks.restore.errors import DumpError
from tests.support.databases import Database
from tests.support.dumps import dumped, program
from tests.support.servers import RunningServer


def _zstd(content: bytes) -> bytes:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    compressed: bytes = import_module(name).compress(content)
    return compressed


def _lz4(content: bytes) -> bytes:
    # The extra leaves it out where it has no wheels.
    compressed: bytes = pytest.importorskip("lz4.frame").compress(content)
    return compressed


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
    "lz4": _lz4,
}


@pytest.fixture(scope="module")
def source(server: RunningServer) -> Iterator[Database]:
    """A database with a little in it, that these tests only dump."""
    database = Database(server, f"Dump; Source {os.getpid()}", None, [])
    server.execute(f'CREATE DATABASE "{database.name}"')
    database.execute(
        "CREATE TABLE one (id serial PRIMARY KEY, x text);"
        "INSERT INTO one (x) SELECT md5(n::text) FROM generate_series(1, 5000) n;"
        "SELECT lo_from_bytea(0, 'large')"
    )
    yield database
    database.disconnect()
    server.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def dumps(source: Database, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One dump of each format, under names that say nothing."""
    folder = tmp_path_factory.mktemp("dumps")
    forms = ("custom", "directory", "tar", "plain")
    return {form: dumped(source, folder / f"a{n}.txt", form=form) for n, form in enumerate(forms)}


def sentence(source: Path) -> str:
    """Return why the file is refused: one line that names it."""
    with pytest.raises(DumpError) as caught:
        identify(source)
    text = str(caught.value)
    assert "\n" not in text
    assert str(source) in text
    return text


# --- What it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["custom", "directory", "tar"])
def test_an_archive_tells_where_it_comes_from(
    source: Database, dumps: dict[str, Path], form: str
) -> None:
    dump = identify(dumps[form])
    version = source.server.version
    assert (dump.format, dump.compression, dump.path) == (form, None, dumps[form])
    assert dump.database == source.name
    assert dump.server_major == version // 10000
    assert dump.dump_version
    minor = rf"\.{version % 10000}" if version % 10000 else r"(\.0|devel|beta\d|rc\d)"
    assert re.match(rf"{version // 10000}{minor}\b", dump.dump_version)
    assert dump.archive_version
    assert dump.archive_version[:2] == (1, {14: 14, 15: 14, 16: 15}.get(version // 10000, 16))
    assert dump.created_at
    assert abs(dump.created_at - datetime.now()) < timedelta(minutes=10)
    listed = subprocess.run(
        [program(source, "pg_restore"), "--list", dumps[form]],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"TOC Entries: (\d+)", listed)[1] == str(dump.entries)  # type: ignore[index]
    files = dumps[form].iterdir() if form == "directory" else [dumps[form]]
    assert dump.size == sum(file.stat().st_size for file in files)


def test_a_plain_dump_tells_where_it_comes_from(source: Database, dumps: dict[str, Path]) -> None:
    dump = identify(dumps["plain"])
    assert (dump.format, dump.archive_version, dump.entries) == ("plain", None, None)
    assert dump.server_major == source.server.version // 10000
    assert dump.dump_version
    assert (dump.database, dump.created_at, dump.creates_database) == (None, None, False)
    assert dump.size == dumps["plain"].stat().st_size


@pytest.mark.parametrize("flags", [(), ("--clean",)])
def test_a_plain_dump_made_with_create_says_so(
    source: Database, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    dump = identify(dumped(source, tmp_path / "d", "--create", *flags, form="plain"))
    assert dump.creates_database is True
    assert dump.database == source.name


def test_a_verbose_plain_dump_says_when_it_was_made(source: Database, tmp_path: Path) -> None:
    dump = identify(dumped(source, tmp_path / "d", "--data-only", "--verbose", form="plain"))
    assert dump.creates_database is False
    assert dump.created_at
    assert abs(dump.created_at - datetime.now()) < timedelta(minutes=10)


def test_a_row_that_reads_like_a_statement_creates_no_database(
    database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE t (x text); INSERT INTO t VALUES ('CREATE DATABASE x;')")
    path = dumped(database, tmp_path / "d", form="plain")
    assert b"\nCREATE DATABASE x;\n" in path.read_bytes()
    assert identify(path).creates_database is False


@pytest.mark.parametrize("major", ["9.6.24", "17.2 (Debian 17.2-1.pgdg120+1)", "18beta1", None])
def test_the_major_version_is_read_from_every_spelling(
    dumps: dict[str, Path], major: str | None
) -> None:
    dump = replace(identify(dumps["plain"]), server_version=major)
    assert dump.server_major == (int(re.match(r"\d+", major)[0]) if major else None)  # type: ignore[index]


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("form", ["custom", "tar", "plain"])
def test_compression_around_a_dump_is_seen_through(
    dumps: dict[str, Path], tmp_path: Path, form: str, compression: str
) -> None:
    path = tmp_path / "backup.zip"
    path.write_bytes(COMPRESSORS[compression](dumps[form].read_bytes()))
    dump, inner = identify(path), identify(dumps[form])
    assert (dump.format, dump.compression) == (form, compression)
    assert (dump.server_version, dump.entries) == (inner.server_version, inner.entries)
    assert dump.size == path.stat().st_size
    if form == "plain":
        with open_plain(dump) as stream:
            assert stream.read(1 << 30) == dumps[form].read_bytes()
    else:
        with unpacked(dump, tmp_path) as usable:
            assert usable.path.read_bytes() == dumps[form].read_bytes()
            assert (usable.source, usable.compression) == (path, None)
            assert stat.S_IMODE(usable.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(usable.path.parent.stat().st_mode) == 0o700
            assert usable.size == dumps[form].stat().st_size
        assert not usable.path.parent.exists()


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_file_of_several_compressed_parts_is_one(
    dumps: dict[str, Path], tmp_path: Path, compression: str
) -> None:
    text = dumps["plain"].read_bytes()
    parts = (text[:1000], text[1000:5000], text[5000:])
    path = tmp_path / "parts"
    path.write_bytes(b"".join(COMPRESSORS[compression](part) for part in parts))
    dump = identify(path)
    seen: list[int] = []
    with open_plain(dump, seen.append) as stream:
        assert b"".join(iter(lambda: stream.read(777), b"")) == text
    assert seen == sorted(seen)
    assert seen[-1] == dump.size
    prove_plain(dump)


def test_a_frame_to_be_skipped_hides_no_zstd(dumps: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "parallel"
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    path.write_bytes(skipped + _zstd(dumps["plain"].read_bytes()))
    assert identify(path).compression == "zstd"
    prove_plain(identify(path))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_missing_package_is_named(
    dumps: dict[str, Path], tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    path = tmp_path / "d"
    path.write_bytes(COMPRESSORS[compression](dumps["plain"].read_bytes()))
    monkeypatch.setattr("restorehooks.restore.dump.compression.import_module", missing)
    with pytest.raises(DumpError, match=rf'{compression} .*"django-restorehooks\[compression\]"'):
        identify(path)


@pytest.mark.parametrize("inside", [".", "nightly/db"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_directory_dump_in_a_tar_file_is_taken_apart(
    source: Database, dumps: dict[str, Path], tmp_path: Path, inside: str, compression: str | None
) -> None:
    path = tmp_path / "packed"
    with tarfile.open(path, "w:gz" if compression else "w") as packed:
        packed.add(dumps["directory"], inside)
    dump = identify(path)
    assert (dump.format, dump.compression, dump.is_packed) == ("directory", compression, True)
    assert dump.entries == identify(dumps["directory"]).entries
    with unpacked(dump, tmp_path) as usable:
        assert not usable.is_packed
        assert {file.name for file in usable.path.iterdir()} == {
            file.name for file in dumps["directory"].iterdir()
        }
        restore = [program(source, "pg_restore"), "--file=-", str(usable.path)]
        assert b"dump complete" in subprocess.run(restore, capture_output=True, check=True).stdout
    assert not usable.path.exists()


def test_a_hostile_tar_file_writes_nowhere_else(dumps: dict[str, Path], tmp_path: Path) -> None:
    path, outside = tmp_path / "packed", tmp_path / "3000.dat"
    toc = (dumps["directory"] / "toc.dat").read_bytes()
    with tarfile.open(path, "w") as packed:
        for name, content in (("./toc.dat", toc), (str(outside), b"x"), ("../../1.dat", b"y")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("2.dat")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        packed.addfile(link)
    (tmp_path / "temporary").mkdir()
    with unpacked(identify(path), tmp_path / "temporary") as usable:
        found = {file.name for file in usable.path.iterdir()}
        assert found == {"toc.dat", "3000.dat", "1.dat"}
    assert not outside.exists()


def test_what_needs_no_unpacking_comes_back_as_it_is(dumps: dict[str, Path]) -> None:
    for path in dumps.values():
        dump = identify(path)
        with unpacked(dump) as usable:
            assert usable is dump


# --- What it is not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"garbage", "is no PostgreSQL dump"),
        (os.urandom(5000), "is no PostgreSQL dump|is damaged"),
        (b"CREATE TABLE t (x int);\n", "is no PostgreSQL dump"),
        (b"PK\x03\x04" + bytes(100), "is a zip file: unzip it"),
        ("-- PostgreSQL database dump\n".encode("utf-16"), "UTF-16 .* pg_dump --file"),
        (b"-- MySQL dump 10.13  Distrib 8.0\n", "MySQL"),
        (b"SQLite format 3\x00", "SQLite"),
        (b'[{"model": "auth.user", "pk": 1}]', "is no PostgreSQL dump"),
        (b"PGDMP", "was cut off in its header"),
        (b"PGDMP\x01\x10\x00\x04\x08\x01", "was cut off in its header"),
        (b"PGDMP\x01\x63\x00\x04\x08\x01\x01" + bytes(99), "newer django-restorehooks"),
        (b"PGDMP\x01\x05\x00\x04\x08\x01\x01" + bytes(99), "before 8.0"),
        (gzip.compress(b"garbage", mtime=0), "is no PostgreSQL dump"),
        (gzip.compress(gzip.compress(b"twice", mtime=0), mtime=0), "is no PostgreSQL dump"),
        (b"\x1f\x8bgarbage that only begins as gzip does", "damaged"),
        (b"\x28\xb5\x2f\xfdgarbage", "damaged"),
        (b"\x04\x22\x4d\x18garbage", "damaged" if find_spec("lz4") else "pip install .*lz4"),
        (b"\xfd7zXZ\x00garbage", "damaged"),
        (b"BZh9garbage", "damaged"),
    ],
)
def test_what_is_no_dump_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "backup.dump"
    path.write_bytes(content)
    assert re.search(expected, sentence(path))


def test_a_whole_server_is_refused(source: Database, tmp_path: Path) -> None:
    path = tmp_path / "all"
    params = source.server.params
    subprocess.run(
        [
            program(source, "pg_dumpall"),
            "-h",
            params["host"],
            "-p",
            str(params["port"]),
            "-U",
            params["user"],
            "-f",
            path,
        ],
        check=True,
    )
    assert "pg_dumpall" in sentence(path)
    assert "dump the one database with pg_dump" in sentence(path)


def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path, dumps: dict[str, Path]) -> None:
    assert "No such file" in sentence(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    assert "no dump, or pg_dump was interrupted" in sentence(tmp_path / "folder")
    (tmp_path / "folder" / "toc.dat").write_bytes(b"nothing")
    assert "damaged" in sentence(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    assert "standard input" in sentence(tmp_path / "pipe")
    assert "/toc.dat" in sentence(dumps["directory"] / "toc.dat")
    assert f"give the directory {dumps['directory']}" in sentence(dumps["directory"] / "toc.dat")


def test_a_file_without_permission_is_refused(dumps: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(dumps["custom"].read_bytes())
    path.chmod(0)
    effective = os.geteuid()
    if effective == 0:
        os.seteuid(65534)  # the superuser may read everything
    try:
        assert "Permission denied" in sentence(path)
    finally:
        os.seteuid(effective)


def test_an_archive_cut_anywhere_in_its_header_is_refused(
    dumps: dict[str, Path], tmp_path: Path
) -> None:
    content = dumps["custom"].read_bytes()
    path = tmp_path / "cut"
    header = content.index(b"ENCODING") - 40
    for length in range(5, header, 3):
        path.write_bytes(content[:length])
        assert "was cut off in its header" in sentence(path)


def test_a_tar_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme").write_text("hello")
    with tarfile.open(tmp_path / "t", "w") as packed:
        packed.add(tmp_path / "readme", "readme")
    assert "without toc.dat" in sentence(tmp_path / "t")


# --- Whether it is whole -----------------------------------------------------------------------


def test_a_cut_plain_dump_is_refused_by_its_end(dumps: dict[str, Path], tmp_path: Path) -> None:
    content = dumps["plain"].read_bytes()
    check_trailer(identify(dumps["plain"]))
    prove_plain(identify(dumps["plain"]))
    path = tmp_path / "cut"
    trailer = content.rindex(b"-- PostgreSQL database dump complete")
    for length in (2000, len(content) // 2, content.rindex(b"COPY") + 50, trailer, trailer + 30):
        path.write_bytes(content[:length])
        for check in (check_trailer, prove_plain):
            with pytest.raises(DumpError, match=r"was cut off: .* dump or copy it again"):
                check(identify(path))


@pytest.mark.parametrize(
    ("end", "whole"),
    [
        ("-- PostgreSQL database dump complete\n--\n\n", True),
        ("-- PostgreSQL database dump complete", True),
        ("-- PostgreSQL database dump complete\r\n--\r\n\r\n\\unrestrict aB\r\n\r\n", True),
        ("-- PostgreSQL database dump complete\nSELECT 1;\n", False),
        ("  -- PostgreSQL database dump complete\n", False),
        ("-- PostgreSQL database dump complete or not\n", False),
        ("-- PostgreSQL database dump complete\n\\! true\n", False),
    ],
)
def test_nothing_may_follow_the_last_line(
    dumps: dict[str, Path], tmp_path: Path, end: str, whole: bool
) -> None:
    content = dumps["plain"].read_bytes()
    trailer = content.rindex(b"-- PostgreSQL database dump complete")
    path = tmp_path / "d"
    path.write_bytes(content[:trailer] + end.encode())
    if whole:
        check_trailer(identify(path))
    else:
        with pytest.raises(DumpError):
            check_trailer(identify(path))


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_compressed_dump_cut_anywhere_is_never_read_to_its_end(
    dumps: dict[str, Path], tmp_path: Path, compression: str
) -> None:
    content = COMPRESSORS[compression](dumps["plain"].read_bytes())
    path = tmp_path / "cut"
    for part in range(1, 20):
        path.write_bytes(content[: len(content) * part // 20])
        with pytest.raises(DumpError):
            prove_plain(identify(path))
    path.write_bytes(content[:-1])
    with pytest.raises(DumpError, match="was cut off"):
        prove_plain(identify(path))


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])  # the others need no checksum
def test_a_flipped_bit_is_found(dumps: dict[str, Path], tmp_path: Path, compression: str) -> None:
    content = bytearray(COMPRESSORS[compression](dumps["plain"].read_bytes()))
    content[len(content) // 2] ^= 8
    path = tmp_path / "flipped"
    path.write_bytes(content)
    with pytest.raises(DumpError):
        prove_plain(identify(path))


def test_an_archive_cut_under_its_compression_is_not_unpacked(
    dumps: dict[str, Path], tmp_path: Path
) -> None:
    content = gzip.compress(dumps["custom"].read_bytes())
    path = tmp_path / "cut"
    path.write_bytes(content[:-20])
    with pytest.raises(DumpError, match="was cut off"), unpacked(identify(path), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [path]


# --- Standard input ----------------------------------------------------------------------------


def test_stdin_goes_to_a_file_that_nobody_else_reads(
    dumps: dict[str, Path], tmp_path: Path
) -> None:
    content = dumps["custom"].read_bytes()
    with spooled(io.BytesIO(content), tmp_path) as path:
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert identify(path).format == "custom"
    assert list(tmp_path.iterdir()) == []


def test_the_copy_of_stdin_is_gone_after_an_error(tmp_path: Path) -> None:
    class Interrupted(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            if self.tell():
                raise KeyboardInterrupt
            return super().read(3)

    with pytest.raises(KeyboardInterrupt), spooled(Interrupted(b"abcdef"), tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), spooled(io.BytesIO(b"abc"), tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_empty_stdin_is_refused() -> None:
    with pytest.raises(DumpError, match="standard input was empty"), spooled(io.BytesIO()):
        pass


def test_a_terminal_is_refused(terminal: tuple[int, int]) -> None:
    with (
        open(terminal[1], "rb", closefd=False) as typed,
        pytest.raises(DumpError, match="is a terminal"),
        spooled(typed),
    ):
        pass


def test_no_place_for_temporary_files_is_said(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(DumpError, match="TMPDIR") as caught, spooled(io.BytesIO(b"x"), missing):
        pass
    assert str(missing) in str(caught.value)


def test_a_copy_that_does_not_fit_is_said_and_gone(tmp_path: Path) -> None:
    code = f"""
        import io, resource
        from pathlib import Path
        from restorehooks.restore.dump.copies import spooled
        from restorehooks.restore.errors import DumpError
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            with spooled(io.BytesIO(bytes(100_000)), Path({str(tmp_path)!r})):
                pass
        except DumpError as error:
            print(error)
    """
    said = in_a_process(code)
    assert re.fullmatch(rf"the dump needs a temporary copy, .*{tmp_path}.* TMPDIR .*\n", said)
    assert list(tmp_path.iterdir()) == []


def in_a_process(code: str) -> str:
    """Run Python code and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_reading_takes_little_memory(dumps: dict[str, Path], tmp_path: Path) -> None:
    """200 MB, compressed to almost nothing, in a process that may use 40 MB more."""
    path = tmp_path / "bomb.gz"
    text = dumps["plain"].read_bytes()
    with gzip.open(path, "wb", compresslevel=1) as packed:
        packed.write(text[:500])
        for _ in range(200):
            packed.write(b"-" * (1024 * 1024 - 1) + b"\n")
        packed.write(b"\n-- PostgreSQL database dump complete\n")
    code = f"""
        import resource
        from pathlib import Path
        from restorehooks.restore.dump.identify import identify
        from restorehooks.restore.dump.proof import prove_plain
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        prove_plain(identify(Path({str(path)!r})))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    assert int(in_a_process(code)) < 40_000
