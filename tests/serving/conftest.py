"""A real Bento over HTTP, in front of a real Postgres, on the chessboard."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from infra.migrations import migrate
from tests.conftest import Server
from tests.serving.worlds import bento, chessboard, load, postgres_home, squares, wait_until_ready

HISTORIES = {
    "bella": [(name, "purchase", 100.0 - n) for n, name in enumerate(squares("black")[:8])],
    "willy": [(name, "like", 5.0 - n) for n, name in enumerate(squares("white")[:4])],
    "turner": [
        *[(name, "purchase", 60.0 - n) for n, name in enumerate(squares("black")[8:14])],
        *[(name, "click", 0.5) for name in squares("white")[8:11]],
    ],
}


@dataclass(frozen=True)
class World:
    """Where the service and its database are."""

    address: str
    database: str


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
