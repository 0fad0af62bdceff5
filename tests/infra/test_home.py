"""Paths, ports, addresses and errors, without a running platform."""

import os
import socket
from pathlib import Path

import psycopg
import pytest

from components.settings import Settings
from infra.home import postgres
from infra.home.addresses import choose_port, claim_port, is_port_free
from infra.home.databases import external
from infra.home.environment import SETTINGS_FILE, client_variables, fingerprint, settings_file
from infra.home.errors import PlatformError, failure
from infra.home.home import Home, State
from infra.local.platform import Platform
from tests.support.platforms import remove_data
from tests.support.ports import free_port


def test_socket_path_of_deep_home_is_short(tmp_path: Path) -> None:
    home = Home(tmp_path / ("deep" * 40))
    assert len(os.fsencode(home.socket)) < 80
    assert home.socket != Home(tmp_path / ("deeper" * 30)).socket


def test_state_persists_and_damage_is_reported(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.state == State()
    home.save(State(ports={"mlflow": 5001}, bento="a:1"))
    assert home.state.ports == {"mlflow": 5001}
    (tmp_path / "platform.json").write_text("{")
    with pytest.raises(PlatformError, match=r"platform\.json is damaged"):
        _ = home.state


def test_state_of_release_0_1_is_read(tmp_path: Path) -> None:
    served = '{"bento_tag": "duotempo:v3-a", "model_version": "3"}'
    (tmp_path / "platform.json").write_text(f'{{"ports": {{"mlflow": 5001}}, "served": {served}}}')
    assert Home(tmp_path).state == State(ports={"mlflow": 5001}, bento="duotempo:v3-a")


def test_home_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="DUOTEMPO_HOME"):
        Home(tmp_path / "file" / "home").make()


def open_to_others(home: Home) -> list[Path]:
    return [path for path in (home.path, *home.path.rglob("*")) if path.stat().st_mode & 0o077]


def test_home_is_private_whatever_the_umask(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    before = os.umask(0)
    try:
        home.make()
        home.make_secret("webhook")
    finally:
        os.umask(before)
    assert open_to_others(home) == []


def test_home_of_earlier_release_is_made_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    home.save(State())
    for folder in (home.path, home.logs, home.path / "runs", home.path / "spool"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    home.make()
    home.restrict_access()
    assert [path.name for path in open_to_others(home) if path.is_dir()] == []


def test_shared_folder_is_rejected_as_home(tmp_path: Path) -> None:
    folder = tmp_path / "srv"
    (folder / "another service").mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(PlatformError, match="name a folder of its own"):
        Home(folder).make()
    assert folder.stat().st_mode & 0o777 == 0o755
    folder.chmod(0o700)
    Home(folder).make()


def test_roots_database_is_moved_out_of_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    (home.path / "postgres").mkdir()
    (home.path / "postgres" / "PG_VERSION").write_text("18")
    home.make_secret("postgres")
    try:
        postgres.move_out_of_home(home)
        cluster = postgres.locate(home)
        assert cluster.exists
        assert (cluster.data == home.path / "postgres") == (cluster.user is None)
    finally:
        remove_data(home)


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_port_with_listener_is_not_free(address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        assert not is_port_free(port)
        chosen = choose_port(port, [])
    assert chosen != port
    assert is_port_free(chosen)
    assert choose_port(chosen, [chosen]) != chosen


def test_port_claim_lasts_while_any_process_holds_it() -> None:
    port = free_port()
    first, second = claim_port(port, "one"), claim_port(port, "one")
    assert first
    assert second
    assert claim_port(port, "two") is None
    first.close()
    assert claim_port(port, "two") is None
    second.close()
    claimed = claim_port(port, "two")
    assert claimed
    assert claim_port(port, "one") is None
    claimed.close()


def test_external_url_gives_all_three_databases() -> None:
    databases = external("postgresql://me:p%40ss@db.example:6543/shop?sslmode=require")
    assert databases.prefect == "postgresql+asyncpg://me:p%40ss@db.example:6543/shop_prefect?ssl=require"
    assert databases.mlflow == "postgresql+psycopg://me:p%40ss@db.example:6543/shop_mlflow?sslmode=require"
    assert databases.masked_url == "postgresql://me:***@db.example:6543/shop?sslmode=require"


def test_missing_databases_are_created_on_external_server(database: str) -> None:
    databases = external(database)
    assert databases.answers()
    databases.create()
    databases.create()
    with psycopg.connect(database) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
    assert set(databases.names) <= names
    assert databases.names[1:] == (f"{databases.names[0]}_prefect", f"{databases.names[0]}_mlflow")


@pytest.mark.parametrize("url", ["postgresql://me@db/shop", "postgresql://duotempo:other@127.0.0.1:5432/duotempo"])
def test_url_of_another_database_is_external(tmp_path: Path, url: str) -> None:
    platform = Platform(Settings(home=tmp_path, database_url=url))
    assert platform.external == external(url)
    platform.home.make()
    platform.home.make_secret("postgres")
    assert platform.external == external(url)
    assert platform.database_url == url
    own_url = f"postgresql://duotempo:{platform.home.secret('postgres')}@127.0.0.1:5432/duotempo"
    assert Platform(Settings(home=tmp_path, database_url=own_url)).external is None


def test_settings_file_is_passed_to_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTINGS_FILE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert settings_file() is None
    before = fingerprint({})
    file = tmp_path / "duotempo.toml"
    file.write_text("[fusion]\nseed = 1\n")
    databases = external("postgresql://me@db/shop")
    environment = client_variables(Settings(), Home(tmp_path / "home"), databases, "http://prefect", "http://mlflow")
    assert environment[SETTINGS_FILE] == str(file)
    first_fingerprint = fingerprint({})
    file.write_text("[fusion]\nseed = 2\n")
    assert len({before, first_fingerprint, fingerprint({})}) == 3
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv(SETTINGS_FILE, environment[SETTINGS_FILE])
    assert settings_file() == file


@pytest.mark.parametrize("url", ["mysql://me@host/shop", "postgresql://host", "nonsense", "postgresql://host:port/x"])
def test_non_postgres_url_is_rejected(url: str) -> None:
    with pytest.raises(PlatformError, match="postgresql://user:password@host:port/name"):
        external(url)


def test_failure_shows_log_and_remedy_without_secrets(tmp_path: Path) -> None:
    log = tmp_path / "mlflow.log"
    log.write_text("early\n" * 50 + "login with hush\n[Errno 98] Address already in use\n")
    text = str(failure("mlflow", "does not start", log, ["hush"]))
    assert str(log) in text
    assert "login with ***" in text
    assert "port was taken" in text
    assert text.count("early") < 50


def test_full_disk_has_a_remedy(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text("FATAL: could not write: No space left on device\n")
    assert "the disk is full" in str(failure("postgres", "does not start", log, []))


def test_data_without_password_are_not_overwritten(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    try:
        with pytest.raises(PlatformError, match=r"password .* is gone"):
            postgres.locate(home)
    finally:
        remove_data(home)


def test_missing_password_does_not_delete_data(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    data = (home.path if os.geteuid() else postgres.ELSEWHERE / home.id) / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18")
    try:
        with pytest.raises(PlatformError, match=r"password .* is gone: restore it"):
            postgres.locate(home)
        assert (data / "PG_VERSION").is_file()
    finally:
        remove_data(home)
