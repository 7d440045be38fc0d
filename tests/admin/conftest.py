"""The site that the tests of the admin page visit: one for all of them, cleared for each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.admin.site import Site, running_site
from tests.support.servers import RunningServer


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, server: RunningServer) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("admin") / "project"
    names = (f"test_admin_{os.getpid()}", f"test_admin_other_{os.getpid()}")
    with running_site(folder, server, names) as site:
        yield site


@pytest.fixture
def site(running: Site) -> Site:
    """The site, with nothing in its databases that another test has made."""
    running.clear()
    return running
