"""A dump on standard input: a plain one is read as it comes, an archive is copied first."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from restorehooks.restore.errors import DumpError, RestoreError
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from tests.support.databases import Database, MakeDatabase, pointed
from tests.support.dumps import alone, dumped, neighbours, untrusted

SHOP = "CREATE TABLE shop (id serial PRIMARY KEY, v text); INSERT INTO shop (v) VALUES ('a')"


@pytest.fixture
def source(make_database: MakeDatabase) -> Database:
    source = make_database()
    source.execute(SHOP)
    return source


def piped(
    database: Database, content: bytes, monkeypatch: pytest.MonkeyPatch, **wishes: Any
) -> RestoreReport:
    """Restore what comes on standard input."""
    alone(database)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return restore(Request("-", **wishes), confirm=lambda question: True)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_plain_dump_needs_no_copy(
    source: Database,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_place: bool,
    packed: bool,
) -> None:
    text = dumped(source, tmp_path / "d.sql", form="plain").read_bytes()
    # Longer than what is looked at beforehand.
    text = text.replace(b"1\ta\n", b"1\ta\n" + b"".join(b"%d\tb\n" % n for n in range(2, 200_000)))
    content = gzip.compress(text, 1) if packed else text
    report = piped(
        database, content, monkeypatch, spool_dir=tmp_path / "missing", in_place=in_place
    )
    assert report.restored
    assert database.execute("SELECT count(*) FROM shop") == [(199_999,)]
    assert report.dump
    assert (str(report.dump.source), report.dump.format) == ("standard input", "plain")
    assert report.as_json()["dump"]["source"] == "standard input"


def test_one_that_ends_too_early_is_never_live(
    source: Database, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = dumped(source, tmp_path / "d.sql", form="plain").read_bytes()
    for length in (len(text) // 2, text.rindex(b"-- PostgreSQL database dump complete")):
        with pytest.raises(RestoreError, match=r"cut off|ends in the middle"):
            piped(database, text[:length], monkeypatch)
    assert database.execute("SELECT to_regclass('shop')") == [(None,)]
    alone(database)
    assert neighbours(database) == []


@pytest.mark.parametrize("form", ["custom", "tar"])
def test_an_archive_is_copied_where_it_is_wanted(
    source: Database,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    content = dumped(source, tmp_path / "d", form=form).read_bytes()
    with pytest.raises(DumpError, match=f"{tmp_path}/missing .* --spool-dir"):
        piped(database, content, monkeypatch, spool_dir=tmp_path / "missing")
    (tmp_path / "spool").mkdir()
    assert piped(database, content, monkeypatch, spool_dir=tmp_path / "spool").restored
    assert database.execute("SELECT count(*) FROM shop") == [(1,)]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_dry_run_proves_it_first(
    source: Database, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = dumped(source, tmp_path / "d.sql", form="plain").read_bytes()
    assert not piped(database, text, monkeypatch, dry_run=True).restored
    with pytest.raises(DumpError, match="cut off"):
        piped(database, text[:-200], monkeypatch, dry_run=True)


def test_nothing_is_said(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DumpError, match="standard input was empty"):
        piped(database, b"", monkeypatch)


@pytest.mark.parametrize("what", ["garbage", "cut", "no dump", "a server"])
def test_a_message_never_names_the_copy(
    source: Database,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("readme.txt"))
    content = {
        "garbage": b"garbage\n",
        "cut": dumped(source, tmp_path / "d").read_bytes()[:-300],
        "no dump": packed.getvalue(),
        "a server": b"--\n-- PostgreSQL database cluster dump\n--\n\nSET x = 1;\n",
    }[what]
    for dry_run in (False, True):
        with pytest.raises(RestoreError) as caught:
            piped(database, content, monkeypatch, spool_dir=tmp_path, dry_run=dry_run)
        assert "tandard input" in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "made", ["PUBLICATION everything FOR ALL TABLES", "EXTENSION {} SCHEMA public"]
)
def test_what_only_a_superuser_may_make_names_the_option(
    source: Database,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: str,
) -> None:
    text = dumped(source, tmp_path / "d.sql", form="plain").read_bytes()
    # It comes after what is looked at before anything is loaded.
    rows = b"".join(b"%d\tb\n" % n for n in range(2, 150_000))
    last = f"\n\nCREATE {made.format(untrusted(source))};\n\n\n--\n-- PostgreSQL database dump c"
    text = text.replace(b"1\ta\n", b"1\ta\n" + rows)
    text = text.replace(b"--\n-- PostgreSQL database dump c", last.encode())
    owner = database.role("owner", "LOGIN CREATEDB")
    database.server.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    with pointed("default", {**database.settings, "USER": owner}):
        with pytest.raises(RestoreError, match="--skip-superuser-only"):
            piped(database, text, monkeypatch, owner=False)
        assert piped(database, text, monkeypatch, owner=False, skip_superuser_only=True).restored
