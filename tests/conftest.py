"""A real Postgres and a real platform for the session, and a migrated database of its own for each test module."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.support.platforms import SharedPlatform
from tests.support.postgres import Server, fresh_database

TOGETHER = ("tests/e2e", "tests/flows/promotion")
"""Folders whose modules share what they made on the platform."""
FIRST = (*TOGETHER, "tests/flows", "tests/infra")
"""The longest work."""
PLATFORMS, MAX_WORKERS = 2, 4
"""Workers that begin with it, and workers in all."""


def unit(nodeid: str) -> str:
    """What stays on one worker of pytest-xdist: each folder of TOGETHER, and each other module."""
    module = nodeid.split("::")[0]
    return next((folder for folder in TOGETHER if module.startswith(folder)), module)


class ByUnit(LoadScopeScheduling):
    """Two workers begin with the longest work, which starts platforms; the others begin at the other end, so that no
    more platforms are started and the cores have work while those two wait."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if list(self.assigned_work).index(node) >= PLATFORMS:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return min((os.cpu_count() or 1) + 1, MAX_WORKERS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Its own `loadgroup` loses the groups: it writes them where pytest 9 does not read them."""
    return ByUnit(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((at for at, folder in enumerate(FIRST) if item.nodeid.startswith(folder)), len(FIRST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A superuser's URL of a real server: the one of DUOTEMPO_TEST_DATABASE_URL, else one of this session's own."""
    if outside := os.environ.get("DUOTEMPO_TEST_DATABASE_URL"):
        yield outside
        return
    home = Path(tempfile.mkdtemp(prefix="duotempo-test-", dir="/tmp"))
    try:
        server = Server(home)
        try:
            yield server.start()
        finally:
            server.stop()
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedPlatform]:
    """Whoever takes it over renews it."""
    platform = SharedPlatform(tmp_path_factory.mktemp("platform"))
    try:
        yield platform
    finally:
        platform.stop()
