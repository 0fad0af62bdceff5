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

SINGLE_WORKER_FOLDERS = ("tests/e2e", "tests/flows/promotion")
"""Folders whose modules share what they made on the platform."""
FOLDERS_RUN_FIRST = (*SINGLE_WORKER_FOLDERS, "tests/flows", "tests/infra")
"""The longest work."""
PLATFORM_WORKERS, MAX_WORKERS = 2, 4
"""Workers that begin with it, and workers in all."""


def scope_of(nodeid: str) -> str:
    """What stays on one worker of pytest-xdist: each folder of TOGETHER, and each other module."""
    module = nodeid.split("::")[0]
    return next((folder for folder in SINGLE_WORKER_FOLDERS if module.startswith(folder)), module)


class FolderScheduling(LoadScopeScheduling):
    """Two workers begin with the longest work, which starts platforms. The others begin at the other end: they start
    no more platforms, and keep the cores busy while those two wait.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if list(self.assigned_work).index(node) >= PLATFORM_WORKERS:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return min((os.cpu_count() or 1) + 1, MAX_WORKERS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Its own `loadgroup` loses the groups: it writes them where pytest 9 does not read them."""
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def priority(item: pytest.Item) -> int:
        return next(
            (index for index, folder in enumerate(FOLDERS_RUN_FIRST) if item.nodeid.startswith(folder)),
            len(FOLDERS_RUN_FIRST),
        )

    items.sort(key=priority)


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
