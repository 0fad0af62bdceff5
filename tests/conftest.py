"""Session fixtures: a real Postgres server and a real platform; and a fresh, migrated database per test module."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.platforms import SharedPlatform
from tests.support.postgres import Server, fresh_database

SINGLE_WORKER_FOLDERS = ("tests/e2e", "tests/flows/promotion")
"""Folders whose modules share state on the platform, so that each stays on one xdist worker."""
FOLDERS_RUN_FIRST = (*SINGLE_WORKER_FOLDERS, "tests/flows", "tests/infra")
"""Folders with the slowest tests, which start first."""


def scope_of(nodeid: str) -> str:
    """The xdist scope of a test: its folder in SINGLE_WORKER_FOLDERS, else its module. A scope stays on one worker."""
    module = nodeid.split("::")[0]
    return next((folder for folder in SINGLE_WORKER_FOLDERS if module.startswith(folder)), module)


class FolderScheduling(LoadScopeScheduling):
    """Distributes tests to xdist workers by `scope_of`."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Replaces xdist's `loadgroup`, which writes the groups where pytest 9 does not read them."""
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the slowest folders first."""

    def priority(item: pytest.Item) -> int:
        return next(
            (index for index, folder in enumerate(FOLDERS_RUN_FIRST) if item.nodeid.startswith(folder)),
            len(FOLDERS_RUN_FIRST),
        )

    items.sort(key=priority)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A superuser's URL of a real server: DUOTEMPO_TEST_DATABASE_URL if set, else a server started for the session."""
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
    """The session's platform; a module or folder that uses it calls `renew()` first."""
    platform = SharedPlatform(tmp_path_factory.mktemp("platform"))
    try:
        yield platform
    finally:
        platform.stop()
