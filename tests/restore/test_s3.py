"""A storage of S3's kind: a server that speaks the protocol, boto3 and django-storages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from restorehooks.restore.backup_to_storage import back_up_to_storage
from restorehooks.restore.request import Request
from restorehooks.restore.restore import restore
from restorehooks.restore.sources import list_storage
from tests.support.databases import Database
from tests.support.dumps import alone, dumped

moto = pytest.importorskip("moto.server", reason="moto[s3,server] is not installed")
s3 = pytest.importorskip("storages.backends.s3", reason="django-storages[s3] is not installed")
BUCKET = "dumps"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, which is the storage "dumps"."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "bucket_name": BUCKET,
        "endpoint_url": f"http://{host}:{port}",
        "access_key": "tests",
        "secret_key": "tests",
        "region_name": "us-east-1",
    }
    # It would fetch a whole file into memory.
    monkeypatch.setattr(s3.S3File, "_get_file", lambda self: sys.exit("fetched whole"))
    storage = s3.S3Storage(**options)
    storage.connection.create_bucket(Bucket=BUCKET)
    backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    with override_settings(STORAGES={"dumps": backend}):
        yield storage.bucket
    server.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # boto3's and moto's own
def test_there_and_back(database: Database, bucket: Any, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES")
    written = back_up_to_storage("shop/", keep=1)
    (one,) = list_storage(Request("storage:")).files
    assert f"storage:{one.name}" == str(written.path)
    assert (one.database, one.size) == (database.name, written.dump.size)
    for path in dumped(database, tmp_path / "d", form="directory").iterdir():
        bucket.upload_file(str(path), f"old/dir/{path.name}")
    assert {one.name for one in list_storage(Request("storage:")).files} == {one.name, "old/dir"}
    database.execute("DROP TABLE t")
    alone(database)
    for source in ("storage:shop/", "storage:old/dir"):
        report = restore(Request(source), confirm=lambda question: True)
        assert report.restored
        assert database.execute("SELECT id FROM t") == [(1,)]
        alone(database)
