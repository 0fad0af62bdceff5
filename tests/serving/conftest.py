"""Fixtures: a real Bento over HTTP with a real Postgres and the chessboard toy data."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from tests.support.browser import chromium
from tests.support.postgres import Server, fresh_database, postgres_home
from tests.support.service import HISTORIES, RunningService, admin_key, bento, wait_until_ready
from tests.support.toy_data import chessboard, load


@pytest.fixture(scope="session")
def service_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the bundle and the log of `service`."""
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="session")
def service(postgres_url: str, service_folder: Path) -> Iterator[RunningService]:
    """A service with the chessboard data, shared by all tests of this folder, each of which uses its own users."""
    bundle = chessboard()
    bundle.write(service_folder / "bundle")
    with fresh_database(postgres_url) as url:
        load(url, bundle, HISTORIES)
        admin = admin_key(url)
        with bento(service_folder, url, DUOTEMPO_LOG_LEVEL="INFO") as address:
            wait_until_ready(address)
            yield RunningService(address, url, admin)


@pytest.fixture(scope="session")
def stoppable_server() -> Iterator[tuple[Server, str]]:
    """A Postgres server that may be stopped, apart from that of the session, and the URL of its first database."""
    with postgres_home() as home:
        server = Server(home)
        url = server.start()
        try:
            yield server, url
        finally:
            if server.runs:
                server.stop()


@pytest.fixture(scope="module")
def postgres(stoppable_server: tuple[Server, str]) -> Iterator[tuple[Server, str]]:
    """A Postgres server that this module may stop, and the URL of a migrated database there."""
    server, first = stoppable_server
    if not server.runs:
        server.restart()
    with fresh_database(first) as url:
        yield server, url
        if not server.runs:
            server.restart()


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.address, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def admin(service: RunningService) -> Mapping[str, str]:
    """The Authorization header of a key with the scope admin."""
    return service.admin


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser
