"""A real Postgres and a real platform for the session, and a migrated database of its own for each test module."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from infra.migrations import migrate
from tests.support.platforms import SharedPlatform
from tests.support.postgres import Server

TOGETHER = ("tests/e2e", "tests/flows/promotion", "tests/flows/schedules", "tests/infra")
"""Folders whose tests share a platform: the longest work, so it begins first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers of pytest-xdist, each of these folders, and each module of the others, stays on one."""

    def group(item: pytest.Item) -> str:
        module = item.nodeid.split("::")[0]
        return next((folder for folder in TOGETHER if module.startswith(folder)), module)

    items.sort(key=lambda item: group(item) not in TOGETHER)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


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
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        migrate(url)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedPlatform]:
    """Whoever takes it over renews it."""
    platform = SharedPlatform(tmp_path_factory.mktemp("platform"))
    try:
        yield platform
    finally:
        platform.stop()
