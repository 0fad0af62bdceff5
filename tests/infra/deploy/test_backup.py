"""A platform with events and a champion is backed up and restored into another folder."""

import dataclasses
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from mlflow import MlflowClient
from sqlalchemy import make_url, text
from typer.testing import CliRunner

from cli.main import app
from components import registry
from components.settings import Settings
from components.store.engine import make_engine
from infra.deploy.promotion import promote
from infra.home.errors import PlatformError
from infra.local.backup import MANIFEST, Backup, backup
from infra.local.platform import Platform
from infra.local.restore import restore
from tests.support.platforms import SharedPlatform
from tests.support.ports import free_ports
from tests.support.prefect import Prefect
from tests.support.promotion import champion, register, served_version
from tests.support.toy_data import fill_store, tiny_bundle
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)
USER_FILES = {
    "presets/ours.toml": "[ranking]\nk = 7\n",
    "encoders/ours/config.json": "{}",
    "snapshots/20240601-abc/manifest.json": "{}",
}
"""Files that a user or a flow created in the home."""


def check_stage(stage: str) -> None:
    assert stage


@pytest.fixture(scope="module", autouse=True)
def without_canary_and_encoder() -> Iterator[None]:
    """Turns off canaries and the encoder on the restored platform."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUOTEMPO_DEPLOY__CANARY_SECONDS", "0")
        patch.setenv("DUOTEMPO_PLATFORM__ENCODER", "false")
        yield


def rows(platform: Platform, query: str) -> list[tuple[object, ...]]:
    engine = make_engine(platform.database_url)
    with engine.connect() as connection:
        result = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return result


def people(platform: Platform) -> list[list[tuple[object, ...]]]:
    """Reads the events, impressions and promotions."""
    queries = (
        "SELECT event_id, user_id, item_id, event FROM events ORDER BY event_id",
        "SELECT request_id, user_id, model_version, items::text FROM impressions ORDER BY request_id",
        "SELECT version, actor, state FROM promotions ORDER BY promotion_id",
    )
    return [rows(platform, query) for query in queries]


def deploy_runs(platform: Platform) -> list[str]:
    """Ids of the deploy flow's runs in Prefect."""
    body = {"flows": {"name": {"any_": ["deploy"]}}}
    return sorted(run["id"] for run in Prefect(platform.environment()).ask("/flow_runs/filter", body))


@dataclasses.dataclass(frozen=True)
class BackedUp:
    """A backup, the platform's state before it, and settings for a platform elsewhere."""

    folder: Path
    people: list[list[tuple[object, ...]]]
    versions: list[str]
    deploy_runs: list[str]
    settings: Settings


@pytest.fixture(scope="module")
def backed_up(shared_platform: SharedPlatform, tmp_path_factory: pytest.TempPathFactory) -> BackedUp:
    folder, platform = tmp_path_factory.mktemp("backup"), shared_platform.platform
    shared_platform.renew({"deploy": {"canary_seconds": 0}})
    with shared_platform.shell.inside():
        with pytest.raises(PlatformError, match="outside"):
            backup(platform, platform.home.path / "inside", progress=check_stage)
        engine = make_engine(platform.database_url)
        fill_store(engine, tiny_bundle())
        engine.dispose()
        for version in ("1", "2"):
            register(platform.addresses.mlflow_url, folder / "versions" / version)
        promote("1", settings=platform.settings, actor="ann")
        assert served_version(platform) == "1"
        impressions = "SELECT 1 FROM impressions"
        eventually(lambda: rows(platform, impressions), 30)
        for name, content in USER_FILES.items():
            (platform.home.path / name).parent.mkdir(parents=True, exist_ok=True)
            (platform.home.path / name).write_text(content)
        backup(platform, folder / "kept", snapshots=True, progress=check_stage)
        before = BackedUp(
            folder / "kept", people(platform), versions(platform), deploy_runs(platform), settings_elsewhere(platform)
        )
        with pytest.raises(PlatformError, match="is up"):
            restore(platform, folder / "kept", force=True, progress=check_stage)
    return before


def settings_elsewhere(platform: Platform) -> Settings:
    """Settings of a platform with other ports on the same machine."""
    return platform.settings.model_copy(update={"platform": free_ports().model_copy(update={"encoder": False})})


def versions(platform: Platform) -> list[str]:
    return sorted(registered.version for registered in registry.versions(platform.addresses.mlflow_url))


def test_backup_is_private_and_without_database_password(backed_up: BackedUp) -> None:
    assert backed_up.folder.stat().st_mode & 0o077 == 0
    names = {path.name for path in (backed_up.folder / "home" / "secrets").iterdir()}
    assert "webhook" in names and "postgres" not in names


def test_damaged_backup_is_rejected_before_any_change(backed_up: BackedUp, tmp_path: Path) -> None:
    broken = shutil.copytree(backed_up.folder, tmp_path / "broken")
    dump = broken / "mlflow.dump"
    dump.write_bytes(dump.read_bytes()[:-1] + b"?")
    platform = Platform(backed_up.settings.model_copy(update={"home": tmp_path / "home"}))
    with pytest.raises(PlatformError, match=r"mlflow\.dump"):
        restore(platform, broken, progress=check_stage)
    dump.unlink()
    with pytest.raises(PlatformError, match=r"mlflow\.dump"):
        restore(platform, broken, progress=check_stage)
    (broken / MANIFEST).unlink()
    with pytest.raises(PlatformError, match="is no backup"):
        restore(platform, broken, progress=check_stage)
    assert not platform.home.path.exists()


def test_backup_of_another_format_is_rejected(backed_up: BackedUp, tmp_path: Path) -> None:
    other = shutil.copytree(backed_up.folder, tmp_path / "other")
    manifest = json.loads((other / MANIFEST).read_text())
    (other / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(PlatformError, match="format 99"):
        Backup.read(other)


def test_existing_home_needs_force(backed_up: BackedUp, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "platform.json").write_text("{}")
    platform = Platform(backed_up.settings.model_copy(update={"home": tmp_path / "home"}))
    with pytest.raises(PlatformError, match="--force"):
        restore(platform, backed_up.folder, progress=check_stage)
    assert (tmp_path / "home" / "platform.json").read_text() == "{}"


def test_external_server_is_cleared_only_by_force(backed_up: BackedUp, tmp_path: Path, postgres_url: str) -> None:
    name = f"restored_{secrets.token_hex(8)}"
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    platform = Platform(backed_up.settings.model_copy(update={"home": tmp_path / "home", "database_url": url}))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    try:
        restore(platform, backed_up.folder, progress=check_stage)
        assert people(platform) == backed_up.people
        another = Platform(platform.settings.model_copy(update={"home": tmp_path / "another"}))
        with pytest.raises(PlatformError, match="--force"):
            restore(another, backed_up.folder, progress=check_stage)
        with make_engine(url).begin() as connection:
            connection.execute(text("DELETE FROM events"))
        restore(another, backed_up.folder, force=True, progress=check_stage)
        assert people(another) == backed_up.people
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            for database in platform.databases.names:
                connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())


def test_restored_platform_equals_the_original(backed_up: BackedUp, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "in the way").write_text("")
    restored = CliRunner(
        env={
            "DUOTEMPO_HOME": str(home),
            "DUOTEMPO_PLATFORM__POSTGRES_PORT": str(backed_up.settings.platform.postgres_port),
        }
    ).invoke(app, ["restore", str(backed_up.folder), "--force"])
    assert restored.exit_code == 0, restored.output
    assert "serves version 1" in restored.output
    assert not (home / "in the way").exists()
    assert {name: (home / name).read_text() for name in USER_FILES} == USER_FILES
    platform = Platform(backed_up.settings.model_copy(update={"home": home}))
    try:
        platform.up()
        assert people(platform) == backed_up.people and all(backed_up.people)
        assert versions(platform) == backed_up.versions == ["1", "2"]
        assert deploy_runs(platform) == backed_up.deploy_runs != []
        mlflow = platform.addresses.mlflow_url
        assert champion(mlflow) == "1"
        assert served_version(platform) == "1"
        MlflowClient(mlflow).set_registered_model_alias(registry.NAME, "champion", "2")
        promotions = "SELECT version, actor, state FROM promotions"
        eventually(lambda: ("2", "registry", "serving") in rows(platform, promotions))
        assert served_version(platform) == "2"
    finally:
        platform.down()
        platform.remove()
