"""A dump that somebody packed once more, and what only looks like a dump."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pwd
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from restorehooks.restore import new_folder
from restorehooks.restore.dump import containers, copies
from restorehooks.restore.dump.compression import decompressed
from restorehooks.restore.dump.containers import taken_out
from restorehooks.restore.dump.contents import read_contents
from restorehooks.restore.dump.directory_proof import lines_of, prove_files
from restorehooks.restore.dump.identify import identify
from restorehooks.restore.dump.proof import prove_tar
from restorehooks.restore.errors import DumpError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from tests.support.databases import Database
from tests.support.dumps import alone, dumped


@contextmanager
def peak() -> Iterator[list[int]]:
    """Yield a list that holds after the block how many bytes Python took at most in it."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


FORMS = ("custom", "tar", "plain", "directory")


@pytest.fixture(scope="module")
def dumps(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One small database, dumped in every format."""
    server = request.getfixturevalue("server")
    database = Database(server, "packed_source", None, [])
    server.execute("CREATE DATABASE packed_source")
    database.execute("CREATE TABLE shop (id int); INSERT INTO shop VALUES (1), (2)")
    folder = tmp_path_factory.mktemp("dumps")
    made = {form: dumped(database, folder / form, form=form) for form in FORMS}
    database.disconnect()
    server.execute("DROP DATABASE packed_source")
    return made


def in_tar(folder: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    path = folder / "backup.tgz"
    (folder / "content").mkdir(exist_ok=True)
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, content in files.items():
            (folder / "content" / "file").write_bytes(content)
            packed.add(folder / "content" / "file", name)
    return path


def in_zip(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "backup.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def in_folder(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "backup"
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


PACKERS = {"tar": in_tar, "zip": in_zip, "folder": in_folder}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("form", ["custom", "tar", "plain"])
def test_a_dump_inside_something_else_is_found(
    dumps: dict[str, Path], tmp_path: Path, packer: str, form: str
) -> None:
    content = dumps[form].read_bytes()
    for inner in (content, gzip.compress(content), bz2.compress(content)):
        where = tmp_path / str(len(inner))
        where.mkdir()
        files = {"backup/readme.txt": b"read me", "backup/export": inner}
        path = PACKERS[packer](where, files)
        with taken_out(path) as inside:
            assert inside
            assert inside.name == "backup/export"
            assert identify(inside.path).format == form
            assert inside.path.read_bytes() == inner
            kept = inside.path
        assert kept.exists() is (packer == "folder")


def test_a_directory_dump_in_a_zip_file(dumps: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.make_archive(
        str(tmp_path / "backup"), "zip", dumps["directory"].parent, "directory"
    )
    with taken_out(Path(path)) as inside:
        assert inside
        assert identify(inside.path).format == "directory"


def test_it_is_restored_and_named(
    database: Database, dumps: dict[str, Path], tmp_path: Path
) -> None:
    path = in_tar(tmp_path, {"backup/export": dumps["custom"].read_bytes()})
    alone(database)
    report = restore(Request(str(path)), confirm=lambda question: True)
    assert database.execute("SELECT count(*) FROM shop") == [(2,)]
    assert report.dump
    assert (report.dump.source, report.dump.member) == (path, "backup/export")


@pytest.mark.parametrize("packer", PACKERS)
def test_several_dumps_are_named(dumps: dict[str, Path], tmp_path: Path, packer: str) -> None:
    content = dumps["custom"].read_bytes()
    path = PACKERS[packer](tmp_path, {"a": content, "b": gzip.compress(content), "c": b"c"})
    with pytest.raises(DumpError, match=r'holds 2 dumps \("a", "b"\): unpack it'), taken_out(path):
        pass


@pytest.mark.parametrize("packer", ["tar", "zip"])
def test_what_it_holds_instead_is_named(tmp_path: Path, packer: str) -> None:
    path = PACKERS[packer](tmp_path, {"media/cat.png": b"PNG", "b": b"b"})
    with pytest.raises(DumpError, match=r"no dump .* holds \"media/cat.png\""), taken_out(path):
        pass


def test_dumps_themselves_are_left_alone(dumps: dict[str, Path]) -> None:
    for path in dumps.values():
        with taken_out(path) as inside:
            assert inside is None


def test_unpacking_stops_before_the_disk_is_full(
    dumps: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = dumps["custom"].read_bytes()
    bomb = in_zip(tmp_path, {"export": content + bytes(3_000_000)})
    packed = tmp_path / "bomb.gz"
    packed.write_bytes(gzip.compress(content + bytes(3_000_000)))
    usage = shutil.disk_usage(tmp_path)
    spool = tmp_path / "spool"
    spool.mkdir()

    def nearly_full(folder: Path) -> object:
        written = sum(file.stat().st_size for file in spool.rglob("*") if file.is_file())
        return usage._replace(free=copies._KEPT_FREE + 2_000_000 - written)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    with pytest.raises(DumpError, match=r"3 MB wanted, .* --spool-dir"), taken_out(bomb, spool):
        pass
    with pytest.raises(DumpError, match="--spool-dir"), copies.unpacked(identify(packed), spool):
        pass
    assert list(spool.iterdir()) == []


def test_unpacking_stops_before_there_can_be_no_more_files(
    tmp_path: Path, dumps: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (status := os.statvfs(tmp_path)).f_files:
        pytest.skip("there is no such number")
    bomb, spool = tmp_path / "bomb.tgz", tmp_path / "spool"
    spool.mkdir()
    with tarfile.open(bomb, "w:gz") as members:
        members.add(dumps["directory"] / "toc.dat", "d/toc.dat")
        for number in range(100):
            members.addfile(tarfile.TarInfo(f"d/{number}.dat"))
    monkeypatch.setattr(copies, "_FILES_KEPT_FREE", 10 * status.f_files)
    with (
        pytest.raises(DumpError, match=r"hardly any more files.*--spool-dir"),
        copies.unpacked(identify(bomb), spool),
    ):
        pass
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"-----BEGIN PGP MESSAGE-----\n\nhQEMA", "encrypted by PGP"),
        (b"\x85\x01\x0c\x03" + bytes(range(200)), "encrypted by PGP"),
        (b"\x8c\x0d\x04\x09" + bytes(range(200)), "encrypted by PGP"),
        (b"age-encryption.org/v1\n-> X25519", "encrypted by age"),
        (b"Salted__" + bytes(range(200)), "encrypted by openssl"),
    ],
)
def test_encrypted_files_are_named_as_such(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "backup"
    path.write_bytes(content)
    with pytest.raises(DumpError, match=expected):
        identify(path)


def test_text_before_an_archive_is_named_and_taken_off(
    dumps: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "backup"
    text = b"pg_dump: warning: there are circular foreign-key constraints on this table:\n"
    path.write_bytes(text + dumps["custom"].read_bytes())
    with pytest.raises(DumpError, match=rf"text before it.*tail -c \+{len(text) + 1}$"):
        identify(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_members_name_takes_no_memory_to_speak_of(tmp_path: Path, kind: bytes) -> None:
    """tarfile reads a header into memory whole, and gzip makes a thousandth of its zeros."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 100 << 20
    path = tmp_path / "bomb.tgz"
    with gzip.open(path, "wb", 1) as packed:
        packed.write(header.tobuf(tarfile.GNU_FORMAT))
        packed.writelines(bytes(1 << 20) for _ in range(100))
    with peak() as taken, pytest.raises(DumpError, match=r"a header of 100 MB"), taken_out(path):
        pass
    assert taken[0] < 20 << 20


def test_an_xz_file_takes_no_memory_to_speak_of(tmp_path: Path, dumps: dict[str, Path]) -> None:
    """A dictionary as large as its header says, 4 GB, would be filled with what is unpacked."""
    path, content = tmp_path / "x.sql.xz", dumps["plain"].read_bytes()
    packed = bytearray(lzma.compress(content))
    path.write_bytes(packed + bytes(8) + packed + bytes(4))
    with decompressed(path, "xz") as stream:
        assert stream.read() == content * 2
    assert packed[14:16] == b"\x21\x01"  # LZMA2, and how many bytes say how large it is
    packed[16] = 40
    end = 12 + packed[12] * 4
    packed[end : end + 4] = zlib.crc32(packed[12:end]).to_bytes(4, "little")
    path.write_bytes(packed)
    with pytest.raises(DumpError, match=r"x.sql.xz cannot be read: .* more than 256 MB: use xz"):
        identify(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_file_takes_no_memory_to_speak_of(tmp_path: Path, method: int) -> None:
    """zipfile unpacks at once whatever it reads of these: 46 bytes of bzip2 are 45 MB."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as packed, packed.open("x.sql", "w") as member:
        member.write(bytes(64 << 20))
    assert path.stat().st_size < 100_000
    with (
        peak() as taken,
        pytest.raises(DumpError, match="in another way than by Deflate"),
        taken_out(path),
    ):
        pass
    assert taken[0] < 4 << 20


def test_a_folder_of_everything_is_not_read(
    dumps: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As / is, which is what "$DUMPS/" means where the variable is not set."""
    for number in range(9):
        shutil.copy(dumps["plain"], tmp_path / f"{number}.sql")
    names = iter(Path.rglob(tmp_path, "*"))
    monkeypatch.setattr(containers, "_MOST", 5)
    monkeypatch.setattr(Path, "rglob", lambda *_: names)
    with taken_out(tmp_path) as inside:
        assert inside is None
    assert len([*names]) == 3


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="takes Linux's /proc")
def test_a_file_of_a_folder_that_cannot_be_read_is_named() -> None:
    """Such as one that can only be written, which even root cannot read."""
    folder = Path(f"/proc/self/task/{threading.get_native_id()}")
    with pytest.raises(DumpError, match=r"/\w+ cannot be read: "), taken_out(folder):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_no_link_leads_out_of_a_folder(dumps: dict[str, Path], tmp_path: Path) -> None:
    """Whoever made it: one that was in a tar file belongs to whoever has unpacked that."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "latest").symlink_to(dumps["plain"])
    for owner in (os.geteuid(), 12345):
        os.lchown(folder / "latest", owner, owner)
        with pytest.raises(DumpError, match="the link latest, which leads"), taken_out(folder):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
@pytest.mark.parametrize("linked", ["dump", "folder"])
def test_another_users_link_leads_to_no_dump_that_is_not_theirs(
    dumps: dict[str, Path], tmp_path: Path, linked: str
) -> None:
    """What you alone may read would be restored where they can read it."""
    (ours := tmp_path / "ours").mkdir()
    shutil.copy(dumps["plain"], dump := ours / "dump.sql")
    link = tmp_path / "latest"
    link.symlink_to(dump if linked == "dump" else ours)
    source = link if linked == "dump" else link / "dump.sql"
    target = link.resolve()
    target.chmod(0o600 if linked == "dump" else 0o700)
    with taken_out(source):  # the link is ours
        pass
    os.lchown(link, 12345, 12345)
    said = f"{link} is a link of another user's, to what they may not read: name the dump itself"
    with pytest.raises(DumpError, match=re.escape(said)), taken_out(source):
        pass
    target.chmod(0o755)  # they can read it
    with taken_out(source):
        pass
    target.chmod(0o700)
    os.chown(target, 12345, 12345)  # as the one who makes the backups does it
    with taken_out(source):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
@pytest.mark.parametrize("way", ["closed", "file", "contents", "inside"])
def test_another_users_link_leads_past_no_door_that_is_closed_to_them(
    dumps: dict[str, Path], tmp_path: Path, way: str
) -> None:
    """What a mode lets everybody read may be in a home; in an open folder, what none may read."""
    (ours := tmp_path / "ours").mkdir()
    if way == "contents":
        shutil.copytree(dumps["directory"], ours, dirs_exist_ok=True)
        dump, source = ours / "toc.dat", ours
    else:
        dump = Path(shutil.copy(dumps["plain"], ours / "dump.sql"))
        source = ours if way == "inside" else dump
    link = tmp_path / "link"
    link.symlink_to(source if way == "closed" else ours)
    source = link / "dump.sql" if way == "file" else link
    os.lchown(link, 12345, 12345)
    ours.chmod(0o755)
    dump.chmod(0o644)
    with taken_out(source):
        pass
    closed = ours if way == "closed" else dump
    closed.chmod(0o600)
    with pytest.raises(DumpError, match="to what they may not read"), taken_out(source):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
@pytest.mark.parametrize(
    ("listed", "may"), [(None, True), (4, True), (0, False)], ids=["group", "list", "no"]
)
def test_a_link_of_whoever_may_read_what_it_leads_to_is_followed(
    dumps: dict[str, Path], tmp_path: Path, listed: int | None, may: bool
) -> None:
    """As one of the group of a dump, or because its access control list says so."""
    reader, nobody = pwd.getpwnam("nobody"), 0xFFFFFFFF
    shutil.copy(dumps["plain"], dump := tmp_path / "dump.sql")
    (link := tmp_path / "latest").symlink_to("dump.sql")
    os.chown(dump, 12345, reader.pw_gid)
    os.lchown(link, reader.pw_uid, reader.pw_gid)
    dump.chmod(0o640)
    if listed is not None:
        entries = [(0x01, 6, nobody), (0x02, listed, reader.pw_uid), (0x04, 4 - listed, nobody)]
        entries += [(0x10, 4, nobody), (0x20, 0, nobody)]
        packed = b"".join(struct.pack("<HHI", *each) for each in entries)
        try:
            os.setxattr(dump, "system.posix_acl_access", struct.pack("<I", 2) + packed)
        except (AttributeError, OSError):
            pytest.skip("no access control lists are kept here")
    with nullcontext() if may else pytest.raises(DumpError, match="may not read"), taken_out(link):
        pass


def test_a_link_within_a_folder_is_no_second_dump(dumps: dict[str, Path], tmp_path: Path) -> None:
    """As Kubernetes mounts files: each is a link, by way of one that leads to the newest."""
    folder = tmp_path / "mounted"
    (folder / "..2026").mkdir(parents=True)
    shutil.copy(dumps["plain"], folder / "..2026/dump.sql")
    (folder / "..data").symlink_to("..2026")
    (folder / "dump.sql").symlink_to("..data/dump.sql")
    (folder / "gone").symlink_to("nowhere")
    with taken_out(folder) as inside:
        assert inside
        assert inside.path == folder / "..2026/dump.sql"


@pytest.mark.parametrize("form", ["custom", "plain.gz"])
def test_without_a_folder_for_temporary_files(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """In a container whose root is read only, and that was given none."""
    database.execute("CREATE TABLE t (id int)")
    dump = dumped(database, tmp_path / "x", form=form.partition(".")[0])
    if form == "plain.gz":
        packed = tmp_path / "x.tar.gz"
        with tarfile.open(packed, "w:gz") as file:
            file.add(dump, "x.sql")
        dump = packed
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    with pytest.raises(DumpError, match=r"no folder for temporary files .* TMPDIR"):
        restore(Request(str(dump), dry_run=True))


def headers(*members: tuple[str, bytes, int, bytes]) -> bytes:
    """Return a tar file of members with any fields: name, type, size, and content."""
    made = b""
    for name, kind, size, content in members:
        header = tarfile.TarInfo(name)
        header.type = kind
        made += _with_size(header.tobuf(tarfile.GNU_FORMAT), size)
        made += content + bytes(-len(content) % tarfile.BLOCKSIZE)
    return made + bytes(2 * tarfile.BLOCKSIZE)


def _with_size(header: bytes, size: int) -> bytes:
    field = size.to_bytes(12, "big", signed=True)
    field = (b"\x80" if size >= 0 else b"\xff") + field[1:]
    header = header[:124] + field + header[136:]
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


LONG, EXTENDED = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE
ODD = {
    "name after name": [("long", LONG, 4, b"name")] * 3000,
    "no number": [("x", EXTENDED, 24, b"24 GNU.sparse.map=a,b,c\n"), ("a.sql", b"0", 3, b"abc")],
    "holes": [("x", EXTENDED, 22, b"22 GNU.sparse.map=0,3\n"), ("a.sql", b"0", 3, b"abc")],
    "less than nothing": [("x", EXTENDED, 13, b"13 size=-512\n"), ("a.sql", b"0", 3, b"abc")],
    "back": [("a", b"0", 3, b"abc"), ("a.sql", b"0", -1024, b"abc")],
    "no header": [("a", b"0", 3, b"abc" + bytes(509) + b"no header"), ("a.sql", b"0", 3, b"abc")],
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_header_is_a_sentence(tmp_path: Path, what: str) -> None:
    path = tmp_path / "odd.tar"
    path.write_bytes(headers(*ODD[what]))
    with pytest.raises(DumpError, match=r"odd\.tar is cut off or damaged \(a "), taken_out(path):
        pass


@pytest.mark.parametrize("what", ODD)
def test_a_tar_archive_with_an_odd_member_ends(
    dumps: dict[str, Path], tmp_path: Path, what: str
) -> None:
    path = tmp_path / "archive.tar"
    content = dumps["tar"].read_bytes().rstrip(b"\0")
    content += bytes(-len(content) % tarfile.BLOCKSIZE)
    path.write_bytes(content + headers(*ODD[what]))
    with pytest.raises(DumpError, match="was cut off: it is a tar archive without its end"):
        prove_tar(identify(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_damaged_zip_file_is_a_sentence(
    dumps: dict[str, Path], tmp_path: Path, method: int
) -> None:
    path = tmp_path / "backup.zip"
    with zipfile.ZipFile(path, "w", method) as packed:
        packed.writestr("dump.sql", dumps["plain"].read_bytes())
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(DumpError, match=r"backup\.zip is a damaged zip file"), taken_out(path):
        pass


def test_a_name_in_a_zip_file_that_is_no_text(tmp_path: Path) -> None:
    path = in_zip(tmp_path, {"\u00e9.sql": b"x"})
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xff"))
    with pytest.raises(DumpError, match=r"backup\.zip is a damaged zip file"), taken_out(path):
        pass


def test_millions_of_members_take_no_memory_to_speak_of(tmp_path: Path) -> None:
    """gzip makes some bytes of a thousand empty files, and tarfile remembers each."""
    empty = tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "many.tgz"
    with gzip.open(path, "wb", 1) as packed:
        packed.writelines(empty * 1000 for _ in range(15))
    with peak() as taken, pytest.raises(DumpError), taken_out(path):
        pass
    assert taken[0] < 5 << 20


@pytest.mark.parametrize(("length", "count"), [(8, 10_000), (100_000, 100)])
def test_a_tar_archive_of_many_members_takes_no_memory_to_speak_of(
    dumps: dict[str, Path], tmp_path: Path, length: int, count: int
) -> None:
    """Each is remembered by what finds it, and a name may have a megabyte."""
    path = tmp_path / "many.tar"
    member = tarfile.TarInfo("x" * length).tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(dumps["tar"].read_bytes()[: -2 * tarfile.BLOCKSIZE] + member * count)
    dump = identify(path)
    with peak() as taken:
        prove_files(dump, read_contents(dump))
    assert taken[0] < 3 << 20


def test_a_map_of_holes_is_not_read(tmp_path: Path) -> None:
    """tarfile reads as many numbers as it says there are, and gzip makes a thousandth of them."""
    header = tarfile.TarInfo("x")
    header.size = 2 << 20
    header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    path = tmp_path / "holes.tgz"
    with gzip.open(path, "wb", 1) as packed:
        packed.write(header.tobuf(tarfile.PAX_FORMAT) + b"100000000\n" + b"0\n" * (1 << 20))
    with peak() as taken, pytest.raises(DumpError, match="a member with holes"), taken_out(path):
        pass
    assert taken[0] < 4 << 20


def test_what_zstd_packed_with_a_long_window_is_not_called_damaged(tmp_path: Path) -> None:
    if sys.version_info < (3, 14):
        pytest.importorskip("backports.zstd")
    path = tmp_path / "x.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd\x00\x90" + b"\x29\x00\x00hello")  # 256 MB
    with decompressed(path, "zstd") as stream, pytest.raises(DumpError, match="zstd -d --long=31"):
        stream.read()


@pytest.mark.parametrize("between", [1, 100])
def test_headers_for_all_members_take_no_memory_to_speak_of(tmp_path: Path, between: int) -> None:
    """tarfile remembers what each says, and reads those that follow each other in each other."""
    path = tmp_path / "headers.tgz"
    with gzip.open(path, "wb", 1) as packed:
        for number in range(400):
            record = b" note%d=%s\n" % (number, b"x" * 200_000)
            content = b"%d" % (len(record) + 6) + record
            header = tarfile.TarInfo("x")
            header.type, header.size = tarfile.XGLTYPE, len(content)
            packed.write(header.tobuf(tarfile.GNU_FORMAT) + content)
            packed.write(bytes(-len(content) % tarfile.BLOCKSIZE))
            if number % between == 0:
                packed.write(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    with peak() as taken, pytest.raises(DumpError), taken_out(path):
        pass
    assert taken[0] < 10 << 20  # of 80; other threads take some, too


def test_a_tar_archive_of_many_members_takes_little_memory_to_prove(
    dumps: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "many.tar"
    shutil.copy(dumps["tar"], path)
    empty = tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)
    with tarfile.open(path, "a") as packed:
        packed.fileobj.seek(packed.offset)
        packed.fileobj.write(empty * 15_000)
    dump = identify(path)
    entries = read_contents(dump)
    with peak() as taken:
        prove_files(dump, entries)
    assert taken[0] < 5 << 20


def test_a_list_of_large_objects_of_any_length_takes_little_memory(tmp_path: Path) -> None:
    def lines() -> Iterator[bytes]:
        yield b"1 blob_1.dat\n2 blob"
        yield b"_2.dat\n"
        yield from (b"\0" * 1_000_000 for _ in range(20))

    with peak() as taken:
        found = [line[:20] for line in lines_of(lines())]
    assert found[:3] == [b"1 blob_1.dat\n", b"2 blob_2.dat\n", b"\0" * 20]
    assert taken[0] < 5 << 20


def test_names_in_a_folder_begin_no_line(dumps: dict[str, Path], tmp_path: Path) -> None:
    files = {f"{name}\nAll is well": dumps["plain"].read_bytes() for name in "ab"}
    path = in_folder(tmp_path, files)
    said = re.escape('("a\ufffdAll is well", "b\ufffdAll is well")')
    with pytest.raises(DumpError, match=said), taken_out(path):
        pass


@pytest.mark.parametrize("packer", [in_tar, in_zip])
def test_of_many_dumps_a_few_are_unpacked(
    dumps: dict[str, Path], tmp_path: Path, packer: Callable[..., Path]
) -> None:
    content = dumps["plain"].read_bytes()
    path = packer(tmp_path, {str(number): content for number in range(9)})
    with pytest.raises(DumpError, match="holds more than 3 dumps"), taken_out(path):
        pass


@pytest.mark.parametrize("place", ["spool", "above"])
def test_no_copy_is_made_where_every_user_may_replace_it(
    dumps: dict[str, Path], tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no way into a folder but by its name."""
    path = in_zip(tmp_path, {"a.sql": dumps["plain"].read_bytes()})
    spool = tmp_path / "above" / "spool"
    spool.mkdir(parents=True)
    opened = spool if place == "spool" else spool.parent
    opened.chmod(0o777)
    monkeypatch.setattr(new_folder, "_way_into", lambda folder, made: Path(made))
    said = f"every user may write to {opened}, and replace what is there; chmod"
    with pytest.raises(DumpError, match=re.escape(said)), taken_out(path, spool):
        pass
    assert list(spool.iterdir()) == []
    opened.chmod(0o1777)
    with taken_out(path, spool) as inside:
        assert inside


@pytest.mark.skipif(sys.platform != "linux", reason="it takes a way by a descriptor")
@pytest.mark.parametrize("mode", [0o777, 0o770], ids=["every user", "a group"])
def test_whoever_renames_the_folder_of_a_copy_changes_nothing(
    dumps: dict[str, Path], tmp_path: Path, mode: int
) -> None:
    """A volume of a container is often open to all, and belongs to somebody else."""
    content = dumps["plain"].read_bytes()
    path = in_zip(tmp_path, {"a.sql": content})
    spool, victim = tmp_path / "spool", tmp_path / "victim"
    for folder in (spool, victim):
        folder.mkdir()
    spool.chmod(mode)
    if mode == 0o770 and os.geteuid() == 0:
        os.chown(spool, 1, 1)
    (victim / "member0").write_text("precious")
    with taken_out(path, spool) as inside:
        assert inside
        (made,) = spool.iterdir()
        made.rename(spool / "taken away")
        victim.rename(made)
        assert inside.path.read_bytes() == content
    assert (made / "member0").read_text() == "precious"
    assert list((spool / "taken away").iterdir()) == []


def test_a_restore_by_way_of_such_a_folder(
    dumps: dict[str, Path], database: Database, tmp_path: Path
) -> None:
    files = {f"d/{path.name}": path.read_bytes() for path in dumps["directory"].iterdir()}
    packed, spool = in_tar(tmp_path, files), tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    assert restore(Request(str(packed), spool_dir=spool, jobs=2)).restored
    database.disconnect()
    assert database.execute("SELECT count(*) FROM shop") == [(2,)]
    assert list(spool.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="a file that cannot be read, as on Linux")
def test_a_file_that_the_disk_or_the_network_does_not_give_is_not_called_damaged() -> None:
    with (
        decompressed(Path("/proc/self/mem"), None) as stream,
        pytest.raises(DumpError, match="cannot be read: Input/output error"),
    ):
        stream.read(1)


def test_a_file_that_has_gone_before_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="cannot be read: No such file"):
        decompressed(tmp_path / "gone.sql", None)
