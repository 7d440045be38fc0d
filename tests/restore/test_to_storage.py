"""dumpdb storage:NAME: a dump that is there whole or not at all, and never another's name."""

from __future__ import annotations

import io
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.test import override_settings

from restorehooks.restore.backup_to_storage import back_up_to_storage
from restorehooks.restore.dump.facts import Format
from restorehooks.restore.errors import StorageError, UsageError
from restorehooks.restore.progress import Progress, Reporter
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.server.address import Address
from restorehooks.restore.storage.names import beyond, database_in, moment_in, name_for, stem_for
from restorehooks.restore.storage.store import Store, opened_store
from restorehooks.restore.storage.upload import _Sftp, upload
from tests.support.databases import Database
from tests.support.dumps import alone
from tests.support.reports import valid
from tests.support.storages import Place

SHOP = "CREATE TABLE shop (id serial PRIMARY KEY, v text); INSERT INTO shop (v) VALUES ('a')"


def said(*arguments: str) -> str:
    """Run dumpdb and return its standard output."""
    out = io.StringIO()
    call_command("dumpdb", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_it_is_there_readable_by_its_owner_and_comes_back(
    database: Database, place: Place, tmp_path: Path
) -> None:
    database.execute(SHOP)
    (tmp_path / "spool").mkdir()
    report = valid(
        said("storage:", "--json", "--spool-dir", str(tmp_path / "spool"), "--format=tar"),
        "dumpdb",
    )
    (name,) = place.names()
    assert report["path"] == report["dump"]["source"] == f"storage:{name}"
    assert database_in(name) == database.name
    assert name.endswith("Z.tar")
    if "Plain" not in str(place.configured):
        assert stat.S_IMODE((place.root / name).stat().st_mode) == 0o600
    assert list((tmp_path / "spool").iterdir()) == []
    database.execute("DROP TABLE shop")
    alone(database)
    assert restore(Request("storage:"), confirm=lambda question: True).restored
    assert database.execute("SELECT v FROM shop") == [("a",)]


class Sent(Reporter):
    """Keeps the last that was told of how far it is."""

    sent = (0, 0)

    def progress(self, progress: Progress) -> None:
        self.sent = progress.bytes, progress.bytes_total or 0


def test_it_tells_how_much_is_sent(database: Database, place: Place) -> None:
    told = Sent()
    size = back_up_to_storage("x.dump", reporter=told).dump.size
    assert told.sent == (size, size)
    assert (place.root / "x.dump").stat().st_size == size


def test_a_name_that_is_taken_is_left_alone(
    database: Database, place: Place, tmp_path: Path
) -> None:
    database.execute(SHOP)
    written = back_up_to_storage("a/b.sql" if place_has_folders(place) else "b.sql", form="plain")
    name = str(written.path).removeprefix("storage:")
    before = (place.root / name).read_bytes()
    with pytest.raises(UsageError, match=f"storage:{name} is there already"):
        back_up_to_storage(name)
    # Whoever comes between that question and the answer.
    (tmp_path / "other").write_text("other")
    with opened_store(None) as store, pytest.raises(UsageError, match="is there already"):
        upload(store, tmp_path / "other", name, lambda count: None)
    assert (place.root / name).exists()
    if place_has_folders(place):
        assert (place.root / name).read_bytes() == before
        assert place.names() == ["a", "a/b.sql"]


def place_has_folders(place: Place) -> bool:
    return "Plain" not in str(place.configured)


def test_the_oldest_of_this_database_are_deleted_and_no_other_file(
    database: Database, place: Place
) -> None:
    database.execute(SHOP)
    stem = stem_for(Address.of("default"))
    ours = [f"{stem}2020010{day}T000000Z.dump" for day in range(1, 5)]
    others = [
        f"{database.name}.dump",
        f"{database.name}_000000_20200101T000000Z.dump",
        f"other_{stem}20200101T000000Z.dump",
        f"{stem}20200101T000000Z.dump.gpg",
        f"{stem}20200101.dump",
    ]
    for name in [*ours, *others]:
        (place.root / name).write_text("x")
        os.chmod(place.root / name, 0o666)
    out = said("storage:", "--keep=3")
    assert out.splitlines()[-1] == f"Deleted, being older: {ours[0]}, {ours[1]}."
    (new,) = set(place.names()) - {*ours, *others}
    assert new.startswith(stem)
    assert set(place.names()) == {*ours[2:], *others, new}


NAMED: list[tuple[Format, str | None, str]] = [
    ("custom", "zstd", "dump"),
    ("tar", None, "tar"),
    ("plain", None, "sql"),
    ("plain", "none", "sql"),
    ("plain", "9", "sql.gz"),
    ("plain", "zstd:3", "sql.zst"),
]


def test_names_tell_databases_apart() -> None:
    names = ["a_0a0a0a_20200101T000000Z.dump", "b_0a0a0a_20200101T000000Z.dump"]
    assert beyond(names, "a_0a0a0a_", 0) == names[:1]
    assert database_in("folder/a%2Eb%2F_0a0a0a_20200101T000000Z.sql") == "a.b/"
    assert database_in("a.dump") is None
    moment = datetime(2026, 11, 27, 8, 15, 30, tzinfo=timezone(timedelta(hours=1)))
    for form, compress, suffix in NAMED:
        name = name_for("a_0a0a0a_", form, compress, moment)
        assert name == f"a_0a0a0a_20261127T071530Z.{suffix}"
        assert (database_in(name), moment_in(f"x/{name}")) == ("a", moment)


class Full(FileSystemStorage):
    """A storage whose disk is full half-way."""

    def _save(self, name: str, content: File[bytes]) -> str:
        Path(self.path(name)).write_bytes(content.read(100))
        raise OSError(28, "No space left on device")


class Renaming(FileSystemStorage):
    """A storage that gives a file the name that it likes."""

    def _save(self, name: str, content: File[bytes]) -> str:
        return str(super()._save(f"{name}x", content))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("backend", "options", "why"),
    [
        (f"{__name__}.Full", {}, "writing storage:x.dump: .*OSError: .*No space left"),
        (f"{__name__}.Renaming", {}, "calls storage:x.dump"),
        ("tests.support.storages.Plain", {"cuts": True}, r"\d+ of \d+ bytes of storage:x.dump"),
        ("django.core.files.storage.FileSystemStorage", {"location": "/proc/no"}, "x.dump"),
    ],
)
def test_what_fails_leaves_nothing(
    database: Database, tmp_path: Path, backend: str, options: dict[str, Any], why: str
) -> None:
    root = tmp_path / "files"
    root.mkdir()
    where = "root" if "cuts" in options else "location"
    configured = {"dumps": {"BACKEND": backend, "OPTIONS": {where: str(root), **options}}}
    with override_settings(STORAGES=configured), pytest.raises(StorageError, match=why):
        back_up_to_storage("x.dump")
    assert list(root.iterdir()) == []


class Interrupted(FileSystemStorage):
    """A storage during whose work somebody presses Ctrl-C."""

    def _save(self, name: str, content: File[bytes]) -> str:
        Path(self.path(name)).write_bytes(content.read(100))
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not interrupted")


def test_interrupted_it_leaves_nothing(database: Database, tmp_path: Path) -> None:
    backend = {"BACKEND": f"{__name__}.Interrupted", "OPTIONS": {"location": str(tmp_path)}}
    with override_settings(STORAGES={"dumps": backend}), pytest.raises(KeyboardInterrupt):
        back_up_to_storage("x.dump")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["storage:x", "--format=directory"], "a storage takes a dump as one"),
        (["storage:x", "--jobs=2"], "--jobs needs --format directory"),
        (["storage:x", "--mode=640"], "leave out --mode"),
        (["storage:x", "--force"], "In a storage nothing is replaced"),
        (["storage:x", "--keep=3"], "--keep counts the dumps"),
        (["storage:", "--keep=0"], "--keep must be 1 or more"),
        (["x.dump", "--keep=3"], "--keep is for a dump in a storage"),
        (["x.dump", "--storage=dumps"], "--storage is for a dump in a storage"),
        (["x.dump", "--spool-dir=/tmp"], "--spool-dir is for a dump that is sent on"),
        (["storage:x", "--storage=none"], 'no storage "none"'),
    ],
)
def test_wrong_usage(database: Database, arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why) as caught:
        said(*arguments)
    assert caught.value.returncode == 2


class Moved(FileSystemStorage):
    """A folder whose new folder somebody moves, and puts a link in its place."""

    def path(self, name: str) -> str:
        for made in Path(self.location).glob(".*.unfinished"):
            if not made.is_symlink():
                made.rename(made.with_name("taken away"))
                made.symlink_to(Path(self.location).parent / "victim")
        return super().path(name)


class MovedAndEncoded(Moved):
    """One that writes files in its own way."""

    def _save(self, name: str, content: File[bytes]) -> str:
        assert os.umask(0o077) == 0o077  # nobody may read what is not whole yet
        return super()._save(name, content)  # type: ignore[misc,no-any-return]


@pytest.mark.parametrize("backend", [Moved, MovedAndEncoded])
def test_nothing_is_deleted_or_given_away_where_a_link_leads(
    database: Database, tmp_path: Path, backend: type[Moved]
) -> None:
    for name in ("dumps", "victim"):
        (tmp_path / name).mkdir()
    (tmp_path / "victim" / "file").write_text("precious")
    options = {"location": str(tmp_path / "dumps")}
    configured = {"dumps": {"BACKEND": f"{__name__}.{backend.__name__}", "OPTIONS": options}}
    with override_settings(STORAGES=configured), pytest.raises(StorageError):
        back_up_to_storage("name")
    assert (tmp_path / "victim" / "file").read_text() == "precious"
    given = [path for path in (tmp_path / "victim").iterdir() if path.name != "file"]
    assert len(given) == (backend is MovedAndEncoded)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in given)
    assert not (tmp_path / "dumps" / "name").exists()


@contextmanager
def a_storage(configured: dict[str, Any]) -> Iterator[Store]:
    with override_settings(STORAGES=configured), opened_store("dumps") as store:
        yield store


def in_folder(path: Path, **options: Any) -> dict[str, Any]:
    """Return STORAGES with one in a folder of this machine."""
    backend = "django.core.files.storage.FileSystemStorage"
    return {"dumps": {"BACKEND": backend, "OPTIONS": {"location": str(path), **options}}}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file to send."""
    (tmp_path / "small").write_text("a dump")
    return tmp_path / "small"


def ignore(count: int) -> None:
    """Take how far it is."""


def test_a_link_of_another_user_leads_no_dump_elsewhere_and_deletes_none(
    tmp_path: Path, small: Path
) -> None:
    daily, archive = tmp_path / "dumps/daily", tmp_path / "archive"
    for folder in (daily.parent, archive):
        folder.mkdir()
    (archive / "old").write_text("precious")
    daily.symlink_to("../archive")
    with a_storage(in_folder(daily.parent)) as store:
        upload(store, small, "daily/ours", ignore)
        assert (archive / "ours").exists()
        if os.geteuid() != 0:
            pytest.skip("only root can give a link away")
        os.lchown(daily, 12345, 12345)
        with pytest.raises(StorageError, match="a link of another user's: 'daily'"):
            upload(store, small, "daily/new", ignore)
        with pytest.raises(StorageError, match="a link of another user's: 'daily'"):
            store.delete("daily/old")
    assert {path.name for path in archive.iterdir()} == {"old", "ours"}


class Otherwise(FileSystemStorage):
    """Calls its files otherwise than they are asked for."""

    def path(self, name: str) -> str:
        """Return where a file is."""
        return super().path(name.replace("dump", "kept/DUMP"))


def test_what_a_storage_calls_otherwise_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "a/kept").mkdir(parents=True)
    there = tmp_path / "a/kept/DUMP"
    there.write_text("old")
    with opened_store("default") as store:
        store.backend = Otherwise(tmp_path)
        store.delete("a/dump")
    assert not there.exists()


def test_new_folders_have_the_permissions_that_the_storage_gives_them(
    tmp_path: Path, small: Path
) -> None:
    before = os.umask(0)
    try:
        with a_storage(in_folder(tmp_path / "x", directory_permissions_mode=0o750)) as store:
            upload(store, small, "a/b/dump", ignore)
    finally:
        assert os.umask(before) == 0
    for name in ("x", "x/a", "x/a/b"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o750


def test_whoever_moves_the_folder_on_an_sftp_server_is_sent_nothing(
    place: Place, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sftp" not in str(place.configured):
        pytest.skip("where the folder is on this machine, it is open")
    begin = _Sftp.begin

    def moved(way: _Sftp) -> str:
        temporary = begin(way)
        made = (place.root / temporary).parent
        made.rename(place.root / "taken away")
        made.mkdir()
        made.chmod(0o777)
        (made / "dump").touch()
        (made / "dump").chmod(0o666)
        return temporary

    monkeypatch.setattr(_Sftp, "begin", moved)
    with a_storage(place.configured) as store, pytest.raises(StorageError):
        upload(store, small, "name", ignore)
    assert "a dump" not in [path.read_text() for path in place.root.rglob("*") if path.is_file()]
