"""What the restore's own tests share: a live database whose neighbours go with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings
from psycopg import sql

from restorehooks.restore import load, load_statements
from tests.support.databases import Database, MakeDatabase
from tests.support.dumps import SHOP, alone, dumped, neighbours
from tests.support.serially import compared
from tests.support.sftp import Sftp, sftp_server
from tests.support.storages import WHY_NO_SFTP, Place


@pytest.fixture(autouse=True)
def serially_too() -> Iterator[None]:
    """Compare each load of a plain dump with one over one connection: RESTOREHOOKS_SERIALLY_TOO."""
    with pytest.MonkeyPatch.context() as patch:  # a test's own is undone before its databases go
        if os.environ.get("RESTOREHOOKS_SERIALLY_TOO"):
            patch.setattr(load, "load_plain_beside", compared(load_statements.load_plain_beside))
        yield


@pytest.fixture
def database(make_database: MakeDatabase) -> Iterator[Database]:
    """A fresh database, Django's alias ``default``; the databases beside it go with it."""
    database = make_database(alias="default")
    yield database
    for name in neighbours(database):
        database.server.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        )


@pytest.fixture
def backup(make_database: MakeDatabase, tmp_path: Path) -> Path:
    """A custom dump of a small shop, whose two sequences are behind its rows."""
    shop = make_database()
    shop.execute(SHOP)
    shop.execute("SELECT setval('customer_id_seq', 1, false), setval('purchase_id_seq', 10)")
    return dumped(shop, tmp_path / "backup.dump")


@pytest.fixture
def live(database: Database) -> Database:
    """The live database, which holds what must not be lost."""
    database.execute(
        "CREATE TABLE precious (id serial PRIMARY KEY, what text);"
        "INSERT INTO precious (what) SELECT 'thing ' || n FROM generate_series(1, 300) n"
    )
    alone(database)
    return database


@pytest.fixture(scope="session")
def sftp() -> Iterator[Sftp]:
    """An SFTP server of this run's own."""
    with sftp_server() as server:
        yield server


without_sftp = pytest.mark.skipif(bool(WHY_NO_SFTP), reason=WHY_NO_SFTP)


@pytest.fixture(params=["files", "plain", pytest.param("sftp", marks=without_sftp)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A storage that is called "dumps" in STORAGES."""
    root = tmp_path / "files"
    if request.param == "files":
        backend = "django.core.files.storage.FileSystemStorage"
        options = {"location": str(root)}
    elif request.param == "plain":
        backend, options = "tests.support.storages.Plain", {"root": str(root)}
    else:
        server: Sftp = request.getfixturevalue("sftp")
        root = server.root / tmp_path.name
        backend = "storages.backends.sftpstorage.SFTPStorage"
        options = {**server.options, "root_path": str(root)}
    root.mkdir()
    root.chmod(0o777)
    configured = {"dumps": {"BACKEND": backend, "OPTIONS": options}}
    with override_settings(STORAGES=configured):
        yield Place(configured, root)
