"""Paths, ports, addresses and errors, without a running platform."""

import os
import socket
from pathlib import Path

import psycopg
import pytest

from infra.local import postgres
from infra.local.databases import outside
from infra.local.errors import PlatformError, failure
from infra.local.home import Home, State
from infra.local.ports import choose, is_free
from tests.infra.conftest import remove_data


def test_the_socket_of_a_deep_home_is_short(tmp_path: Path) -> None:
    home = Home(tmp_path / ("deep" * 40))
    assert len(os.fsencode(home.socket)) < 80
    assert home.socket != Home(tmp_path / ("deeper" * 30)).socket


def test_state_is_remembered_and_damage_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.state == State()
    home.save(State(ports={"mlflow": 5001}, served={"bento_tag": "a:1", "model_version": "1"}))
    assert home.state.ports == {"mlflow": 5001}
    (tmp_path / "platform.json").write_text("{")
    with pytest.raises(PlatformError, match=r"platform\.json is damaged"):
        _ = home.state


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="DUOTEMPO_HOME"):
        Home(tmp_path / "file" / "home").make()


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_port_that_somebody_listens_on_is_not_free(address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        chosen = choose(port, [])
    assert chosen != port
    assert is_free(chosen)
    assert choose(chosen, [chosen]) != chosen


def test_an_outside_address_serves_all_three() -> None:
    databases = outside("postgresql://me:p%40ss@db.example:6543/shop?sslmode=require")
    assert databases.prefect == "postgresql+asyncpg://me:p%40ss@db.example:6543/prefect?ssl=require"
    assert databases.mlflow == "postgresql+psycopg://me:p%40ss@db.example:6543/mlflow?sslmode=require"
    assert databases.shown == "postgresql://me:***@db.example:6543/shop?sslmode=require"


def test_an_outside_server_is_given_the_databases_that_it_lacks(database: str) -> None:
    databases = outside(database)
    assert databases.answers()
    databases.create()
    databases.create()
    with psycopg.connect(database) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
    assert {"prefect", "mlflow"} <= names


@pytest.mark.parametrize("url", ["mysql://me@host/shop", "postgresql://host", "nonsense", "postgresql://host:port/x"])
def test_an_address_of_no_postgres_is_refused(url: str) -> None:
    with pytest.raises(PlatformError, match="postgresql://user:password@host:port/name"):
        outside(url)


def test_a_failure_shows_the_log_and_its_mend_but_no_secret(tmp_path: Path) -> None:
    log = tmp_path / "mlflow.log"
    log.write_text("early\n" * 50 + "login with hush\n[Errno 98] Address already in use\n")
    text = str(failure("mlflow", "does not start", log, ["hush"]))
    assert str(log) in text
    assert "login with ***" in text
    assert "port was taken" in text
    assert text.count("early") < 50


def test_a_full_disk_has_its_mend(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text("FATAL: could not write: No space left on device\n")
    assert "the disk is full" in str(failure("postgres", "does not start", log, []))


def test_data_without_their_password_are_not_overwritten(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    try:
        with pytest.raises(PlatformError, match=r"password .* is gone"):
            postgres.locate(home)
    finally:
        remove_data(home)
