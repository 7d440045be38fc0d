"""A directory archive leads to files of its own alone, whatever it names."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from restorehooks.restore.errors import DumpError
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import contents, dumped, neighbours, program

ROWS = b"7\tnobody else's\n\\.\n\n\n"


@pytest.fixture
def archive(make_database: MakeDatabase, tmp_path: Path) -> Path:
    """A directory archive of one table and one large object."""
    source = make_database()
    source.execute(
        "CREATE TABLE t (id int, x text); INSERT INTO t VALUES (1, 'x');"
        "SELECT lo_from_bytea(4711, 'content')"
    )
    return dumped(source, tmp_path / "archive", "--compress=0", form="directory")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that the reader may read and the author of the archive may not."""
    path = tmp_path / "s.dat"
    path.write_bytes(ROWS)
    path.chmod(0o600)
    return path


def refused(archive: Path, live: Database) -> str:
    """Return what a restore says, which has to leave everything as it was."""
    before = contents(live)
    with pytest.raises(DumpError) as caught:
        restore(Request(str(archive)), confirm=lambda _: True)
    assert (contents(live), neighbours(live)) == (before, [])
    return str(caught.value)


@pytest.mark.parametrize("pattern", ["blob_*.dat", "[0-9]*.dat", "toc.dat"])
def test_a_link(archive: Path, secret: Path, live: Database, pattern: str) -> None:
    """One that came in a tar file belongs to the reader, who has unpacked it."""
    (file,) = archive.glob(pattern)
    file.symlink_to(file.rename(secret if pattern != "toc.dat" else secret.with_name("toc")))
    assert f"has the link {file.name}, which may lead to any file" in refused(archive, live)


def test_a_data_file_elsewhere(archive: Path, secret: Path, live: Database) -> None:
    (file,) = archive.glob("[0-9]*.dat")
    name = f"../{secret.name}".rjust(len(file.name), "/").encode()
    table = (archive / "toc.dat").read_bytes()
    assert table.count(file.name.encode()) == 1
    (archive / "toc.dat").write_bytes(table.replace(file.name.encode(), name))
    assert f'names "{name.decode()}" as a data file' in refused(archive, live)


def test_a_large_object_elsewhere(archive: Path, secret: Path, live: Database) -> None:
    (listed,) = archive.glob("blobs*.toc")
    listed.write_text(f"4711 ../{secret.name}\n")
    assert f'names "4711 ../{secret.name}" as a data file' in refused(archive, live)
    listed.rename(listed.with_name(f"{listed.name}.gz"))
    assert f"lacks its data file {listed.name}" in refused(archive, live)


def test_pg_restore_itself_would_have_read_it(
    archive: Path, secret: Path, database: Database
) -> None:
    """It opened whatever is named, up to 15.19; later ones refuse that themselves."""
    (listed,) = archive.glob("blobs*.toc")
    listed.write_text(f"4711 ../{secret.name}\n")
    arguments = ["--dbname", database.url, str(archive)]
    done = subprocess.run(
        [program(database, "pg_restore"), *arguments], capture_output=True, check=False
    )
    refused_it = b"invalid file name in archive" in done.stderr
    assert refused_it or database.execute("SELECT lo_get(4711)") == [(ROWS,)]


@pytest.mark.parametrize("name", ["[0-9]*.dat", "blob_*.dat"])
def test_a_pipe_is_not_waited_for(archive: Path, live: Database, name: str) -> None:
    """pg_restore 16 and later opens it, and would take the compressed file beside it otherwise."""
    (file,) = archive.glob(name)
    file.with_suffix(".dat.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    os.mkfifo(file)
    assert f"has {file.name}, which is a pipe or a device" in refused(archive, live)
