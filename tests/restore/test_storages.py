"""Dumps in Django's storages: the file system, and a real SFTP server (OpenSSH on loopback)."""

from __future__ import annotations

import errno
import gzip
import io
import os
import random
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.test import override_settings

from restorehooks.restore.errors import DumpError, RestoreError, StorageError, UsageError
from restorehooks.restore.report import RestoreReport
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.sources import list_storage
from restorehooks.restore.storage.listing import Listing, Stored, fetched, listing, newest
from restorehooks.restore.storage.store import opened_store
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import alone, contents, dumped, neighbours
from tests.support.reports import valid
from tests.support.storages import Place, Plain

SHOP = "CREATE TABLE shop (id serial PRIMARY KEY, v text); INSERT INTO shop (v) VALUES ('a')"


@pytest.fixture
def shop(make_database: MakeDatabase) -> Database:
    shop = make_database()
    shop.execute(SHOP)
    return shop


def restored(database: Database, source: str, **wishes: Any) -> RestoreReport:
    alone(database)
    return restore(Request(source, **wishes), confirm=lambda question: True)


def test_what_is_there_is_listed_by_its_first_bytes(
    shop: Database, place: Place, tmp_path: Path
) -> None:
    custom = dumped(shop, tmp_path / "c")
    plain = dumped(shop, tmp_path / "p", form="plain")
    packed = tmp_path / "p.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    note = tmp_path / "note"
    note.write_text("nothing of ours\n")
    place.put(dumped(shop, tmp_path / "d", form="directory"), "old/dir", 5)
    place.put(dumped(shop, tmp_path / "t", form="tar"), "t.tar", 4)
    place.put(plain, "p.sql", 3)
    place.put(note, "note.txt", 2)
    place.put(packed, "p.sql.gz", 1)
    place.put(custom, "c.dump")
    (place.root / ".x.unfinished").mkdir()
    (place.root / ".x.unfinished" / "dump").write_text("")

    def summary(one: Stored) -> tuple[Any, ...]:
        dump = one.dump
        known = (dump.format, dump.compression, dump.database) if dump else one.why
        return one.name, known

    found = list_storage(Request("storage:")).files
    assert [summary(one) for one in found] == [
        ("c.dump", ("custom", None, shop.name)),
        ("p.sql.gz", ("plain", "gzip", None)),
        ("note.txt", found[2].why),
        ("p.sql", ("plain", None, None)),
        ("t.tar", ("tar", None, shop.name)),
        ("old/dir", ("directory", None, shop.name)),
    ]
    assert "no PostgreSQL dump" in found[2].why
    assert found[0].size == custom.stat().st_size
    assert found[5].size == sum(file.stat().st_size for file in (tmp_path / "d").iterdir())
    assert found[0].dump
    assert str(shop.server.version // 10000) in (found[0].dump.server_version or "")
    assert [one.name for one in list_storage(Request("storage:old/")).files] == ["old/dir"]


@pytest.mark.parametrize("form", ["custom", "directory", "plain"])
def test_a_dump_is_fetched_and_restored(
    shop: Database, database: Database, place: Place, tmp_path: Path, form: str
) -> None:
    place.put(dumped(shop, tmp_path / "d", form=form), "a folder/d")
    (tmp_path / "spool").mkdir()
    report = restored(database, "storage:a folder/d", spool_dir=tmp_path / "spool")
    assert report.restored
    assert database.execute("SELECT count(*) FROM shop") == [(1,)]
    assert report.dump
    assert (str(report.dump.source), report.dump.format) == ("storage:a folder/d", form)
    assert list((tmp_path / "spool").iterdir()) == []


def test_every_byte_comes(place: Place, tmp_path: Path) -> None:
    """Longer than what is asked for at once, and no whole number of pieces."""
    whole = random.Random(1).randbytes(9_000_001)
    (tmp_path / "whole").write_bytes(whole)
    place.put(tmp_path / "whole", "whole")
    counts: list[int] = []
    with (
        opened_store(None) as store,
        fetched(store, "whole", None, lambda size: counts.append) as path,
    ):
        assert path.read_bytes() == whole
        if path.parent != place.root:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert counts[-1] == len(whole)


def test_the_latest_of_one_database(
    shop: Database, database: Database, make_database: MakeDatabase, place: Place, tmp_path: Path
) -> None:
    blog = make_database()
    place.put(dumped(shop, tmp_path / "1"), "1", 3)
    shop.execute("INSERT INTO shop (v) VALUES ('b')")
    place.put(dumped(shop, tmp_path / "2"), "2", 2)
    (tmp_path / "log").write_text("pg_dump: error\n")
    place.put(tmp_path / "log", "2.log", 1)
    (tmp_path / "empty").touch()
    place.put(tmp_path / "empty", "empty\nall is well", 1)
    place.put(tmp_path / "log", f"{shop.name}_aaaaaa_20380101T000000Z.dump", 1)
    report = restored(database, "storage:")
    assert [note for note in report.notes if "passed over" in note] == [
        f"storage:{shop.name}_aaaaaa_20380101T000000Z.dump was passed over (is no PostgreSQL dump)",
        "storage:empty\ufffdall is well was passed over (is empty)",
    ]
    assert database.execute("SELECT count(*) FROM shop") == [(2,)]
    place.put(dumped(blog, tmp_path / "3"), "3")
    names = ", ".join(sorted([f'"{blog.name}"', f'"{shop.name}"']))
    with pytest.raises(UsageError, match=f"holds dumps of {names}: .* --from-database"):
        restored(database, "storage:")
    report = restored(database, "storage:", from_database=shop.name, dry_run=True)
    assert str(report.dump and report.dump.source) == "storage:2"
    with pytest.raises(StorageError, match='no dump of "nobody\'s"'):
        restored(database, "storage:", from_database="nobody's")


@pytest.mark.parametrize("place", ["plain"], indirect=True)
def test_where_there_is_no_room_nothing_is_fetched(
    database: Database,
    shop: Database,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place.put(dumped(shop, tmp_path / "d"), "d")
    (tmp_path / "spool").mkdir()
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(DumpError, match=f"temporary copy, and in {tmp_path}/spool .*--spool-dir"):
        restored(database, "storage:d", spool_dir=tmp_path / "spool")
    assert list((tmp_path / "spool").iterdir()) == []


class Cut(FileSystemStorage):
    """A storage whose files end before their end."""

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        content = Path(self.path(name)).read_bytes()
        return ContentFile(content[: len(content) // 2])


class _Reset(io.BytesIO):
    def read(self, count: int | None = -1) -> bytes:
        if self.tell():
            raise ConnectionResetError(104, "Connection reset by peer")
        return super().read(min(1000, count or 0))


class Lost(FileSystemStorage):
    """A storage whose connection is lost on the way."""

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        return File(_Reset(Path(self.path(name)).read_bytes()))


@pytest.mark.parametrize("how", [Cut, Lost])
def test_a_transfer_that_is_cut_off_changes_nothing(
    live: Database, shop: Database, tmp_path: Path, how: type[FileSystemStorage]
) -> None:
    before = contents(live)
    dumped(shop, tmp_path / "shop.dump")
    (tmp_path / "spool").mkdir()
    backend = {"BACKEND": f"{__name__}.{how.__name__}", "OPTIONS": {"location": str(tmp_path)}}
    error, said = {
        Cut: (DumpError, "bytes of storage:shop.dump came, .* cut off"),
        Lost: (StorageError, 'storage:shop.dump: the storage "dumps" says ConnectionResetError'),
    }[how]
    with override_settings(STORAGES={"dumps": backend}), pytest.raises(error, match=said):
        restored(live, "storage:shop.dump", spool_dir=tmp_path / "spool")
    assert list((tmp_path / "spool").iterdir()) == []
    assert contents(live) == before
    assert neighbours(live) == []


def test_what_is_not_there(database: Database, place: Place, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r'storage:nothing.*the storage "dumps"'):
        restored(database, "storage:nothing")
    with pytest.raises(StorageError, match='storage "dumps" holds no dump in storage:'):
        restored(database, "storage:")
    with pytest.raises(UsageError, match='no storage "other" in STORAGES; there are "dumps"'):
        restored(database, "storage:x", storage="other")
    with (
        override_settings(RESTOREHOOKS={"STORAGE": "default"}),
        pytest.raises(UsageError, match='no storage "default"'),
    ):
        restored(database, "storage:x")
    with pytest.raises(StorageError, match=r"storage:\.\./x: .* says Suspicious|storage:\.\./x"):
        restored(database, "storage:../x")
    assert list_storage(Request("storage:")) == Listing([], 0)


def test_a_storage_that_cannot_be_used_is_one_sentence(database: Database, tmp_path: Path) -> None:
    for backend in ("no.such.Storage", "django.core.files.storage.Storage"):
        with (
            override_settings(STORAGES={"dumps": {"BACKEND": backend}}),
            pytest.raises(StorageError, match='"dumps"'),
        ):
            list_storage(Request("storage:"))


class Talkative(FileSystemStorage):
    """A storage whose errors repeat how it is reached, as those of requests and azure-core do."""

    def __init__(self, says: str, **options: Any) -> None:
        super().__init__()
        self.says = says
        if "made" in says:
            raise TypeError(f"not to be {says} with {options}")

    def listdir(self, path: str) -> Any:
        raise ConnectionError(self.says)


@pytest.mark.parametrize(
    "says",
    [
        "401 Unauthorized for url: https://bob:sEcReT@127.0.0.1/dav/",
        "Max retries exceeded with url: /dumps?sv=2026&sig=sEcReT (Caused by a timeout)",
        "no answer for key sEcReT\nkey",
        "made",
        r"invalid header: sEcReT-of-settings\n and sEcReT-of-variables",
    ],
)
def test_what_a_storage_says_shows_none_of_its_secrets(
    database: Database, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "sEcReT-of-variables\n")
    options = {
        "says": says,
        "params": {"password": "sEcReT"},
        "secret_key": "sEcReT\nkey",
        "token": "sEcReT-and-more",
        "password": " ",  # is in every sentence
    }
    backend = {"BACKEND": f"{__name__}.Talkative", "OPTIONS": options}
    elsewhere = {"AWS_S3_SECRET_ACCESS_KEY": "sEcReT-of-settings\n", "SECRET_KEY": ""}
    with (
        override_settings(STORAGES={"dumps": backend}, **elsewhere),
        pytest.raises(StorageError, match="Error: ") as found,
    ):
        list_storage(Request("storage:"))
    assert "sEcReT" not in str(found.value)
    assert "and-more" not in str(found.value)
    assert says.split()[0] in str(found.value)


def said(*arguments: str) -> str:
    """Run restoredb and return its standard output."""
    out = io.StringIO()
    call_command("restoredb", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_the_command_says_what_is_there_and_what_is_restored(
    database: Database, shop: Database, place: Place, tmp_path: Path
) -> None:
    place.put(dumped(shop, tmp_path / "d"), "shop.dump")
    assert f'shop.dump (custom dump, of "{shop.name}"' in said("storage:")
    found = valid(said("storage:", "--json"), "restoredb")
    assert (found["action"], found["outcome"]) == ("list storage", "listed")
    assert [one["name"] for one in found["stored"]] == ["shop.dump"]
    assert found["stored"][0]["dump"]["database"] == shop.name
    alone(database)
    done = valid(said("storage:", "--latest", "--no-input", "--json"), "restoredb")
    assert (done["outcome"], done["dump"]["source"]) == ("restored", "storage:shop.dump")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["storage:shop.dump", "--latest"], "--latest needs SOURCE"),
        (["shop.dump", "--storage=dumps"], "--storage needs SOURCE"),
        (["storage:", "--migrate"], "does not take --migrate"),
        (["storage:", "--undo"], "without SOURCE"),
    ],
)
def test_wrong_usage(arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why) as caught:
        said(*arguments)
    assert caught.value.returncode == 2


@pytest.mark.parametrize("place", ["files"], indirect=True)
@pytest.mark.parametrize("name", ["dump", "folder"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_a_link_of_another_user_is_listed_and_not_followed(
    shop: Database, place: Place, tmp_path: Path, name: str
) -> None:
    place.put(dumped(shop, tmp_path / "mine"), "mine", 5)
    (tmp_path / "secrets").mkdir()
    secret = dumped(shop, tmp_path / "secrets" / "dump")
    link = place.root / "latest"
    link.symlink_to(secret if name == "dump" else secret.parent)
    os.lchown(link, 65534, 65534)
    found = {one.name: one for one in list_storage(Request("storage:")).files}
    assert found["latest"].why == "is a link that another user made"
    assert (found["latest"].dump, found["latest"].size, len(found)) == (None, 0, 2)
    notes: list[str] = []
    with opened_store(None) as store:
        assert newest(store, "", None, notes.append).name == "mine"
    assert notes == ["storage:latest was passed over (is a link that another user made)"]


class Unpacking(FileSystemStorage):
    """A storage that reads files in its own way."""

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        return File(Path(self.path(name)).open("rb"))


@pytest.mark.parametrize("how", [FileSystemStorage, Unpacking])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's link")
def test_a_link_of_another_user_that_is_named_leads_to_no_dump_that_is_not_theirs(
    live: Database, shop: Database, tmp_path: Path, how: type[FileSystemStorage]
) -> None:
    (root := tmp_path / "storage").mkdir()
    secret = dumped(shop, tmp_path / "secret")
    secret.chmod(0o600)
    (root / "latest").symlink_to(secret)
    backend = f"{how.__module__}.{how.__name__}"
    storages = {"dumps": {"BACKEND": backend, "OPTIONS": {"location": str(root)}}}
    with override_settings(STORAGES=storages):
        restored(live, "storage:latest", dry_run=True)
        os.lchown(root / "latest", 12345, 12345)
        with pytest.raises(RestoreError, match="is a link of another user's, to what they may not"):
            restored(live, "storage:latest", dry_run=True)


@pytest.mark.parametrize("place", ["files"], indirect=True)
def test_what_is_no_file_is_listed_and_not_waited_for(
    shop: Database, place: Place, tmp_path: Path
) -> None:
    place.put(dumped(shop, tmp_path / "mine"), "mine", 5)
    os.mkfifo(place.root / "pipe")
    (place.root / "gone").symlink_to(tmp_path / "nowhere")
    lines = list(list_storage(Request("storage:")).lines())
    assert any("pipe (is a pipe or a device" in line for line in lines)
    assert any("gone (is a link that leads nowhere" in line for line in lines)
    with opened_store(None) as store:
        assert newest(store, "", None).name == "mine"


class Odd(Plain):
    """A storage that has what an object store can have, and a volume: names and lost+found."""

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        if path == "lost+found":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if path.startswith("deep"):
            return ["deeper"] * (path.count("/") < 2000), []
        return [".", "..", "deep", "lost+found"], ["mine", "..", "a\\b.dump"]


@pytest.mark.parametrize("place", ["files"], indirect=True)
def test_no_odd_name_and_no_closed_folder_is_in_the_way(
    shop: Database, place: Place, tmp_path: Path
) -> None:
    place.put(dumped(shop, tmp_path / "mine"), "mine")
    (place.root / "lost+found").mkdir()
    backend = {"BACKEND": f"{__name__}.Odd", "OPTIONS": {"root": str(place.root)}}
    with override_settings(STORAGES={"dumps": backend}), opened_store("dumps") as store:
        assert newest(store, "", None).name == "mine"
        found = {one.name: one.why for one in listing(store, "").files}
    assert found.keys() == {"mine", "a\\b.dump", "lost+found"}
    assert found["a\\b.dump"] == "has a name that the storage reads as another one"


@pytest.mark.parametrize("place", ["files"], indirect=True)
def test_a_name_in_a_storage_begins_no_line(shop: Database, place: Place, tmp_path: Path) -> None:
    plain = dumped(shop, tmp_path / "p", form="plain")
    place.put(plain, "a%0AAll%20is%20well_aaaaaa_20260101T000000Z.sql")
    place.put(plain, "b_aaaaaa_20260101T000000Z.sql")
    with pytest.raises(UsageError, match='holds dumps of "a\ufffdAll is well", "b": name one'):
        restore(Request("storage:"), confirm=lambda question: True)
    (place.root / "b_aaaaaa_20260101T000000Z.sql").rename(place.root / "b\nAll is well")
    (place.root / "a%0AAll%20is%20well_aaaaaa_20260101T000000Z.sql").unlink()
    (place.root / "b\nAll is well").write_bytes(plain.read_bytes()[:-200])
    told = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("restoredb", "storage:", latest=True, interactive=False, stderr=told)
    assert "\n" not in str(caught.value)
    assert "\nAll is well" not in told.getvalue()
