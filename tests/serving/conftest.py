"""A real Bento over HTTP, in front of a real Postgres, on the chessboard."""

import secrets
import shutil
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import make_url

from infra.migrations import migrate
from tests.support.postgres import Server, postgres_home
from tests.support.service import HISTORIES, World, bento, wait_until_ready
from tests.support.toy_data import chessboard, load

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@pytest.fixture(scope="session")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A served chessboard that all tests of this folder share: each uses users and items of its own."""
    folder = tmp_path_factory.mktemp("serving")
    bundle = chessboard()
    bundle.write(folder / "bundle")
    name = f"serving_{secrets.token_hex(8)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        migrate(url)
        load(url, bundle, HISTORIES)
        with bento(folder, url) as address:
            wait_until_ready(address)
            yield World(address, url)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[Server, str]]:
    """A server of this module's own, which it may stop."""
    with postgres_home() as home:
        server = Server(home)
        url = server.start()
        try:
            yield server, url
        finally:
            server.stop()


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=world.address, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """An installed Chromium, else playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((found for name in names if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=FLAGS)
        yield browser
        browser.close()
