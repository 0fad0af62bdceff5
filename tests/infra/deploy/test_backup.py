"""A platform with events and a champion, backed up, lost, and restored into another folder."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from cli.main import app
from components import registry
from components.settings import Settings
from components.store.engine import make_engine
from infra.local.backup import MANIFEST, Backup, backup
from infra.local.errors import PlatformError
from infra.local.platform import Platform
from infra.local.restore import restore
from infra.promotion import promote
from tests.flows.promotion.conftest import champion, register, served_version
from tests.infra.conftest import free_ports
from tests.worlds import fill_store, tiny_bundle

pytestmark = pytest.mark.timeout(900)


def told(stage: str) -> None:
    assert stage


def events(platform: Platform) -> int:
    engine = make_engine(platform.database_url)
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM events")).scalar_one()
    engine.dispose()
    return int(count)


@dataclasses.dataclass(frozen=True)
class Lost:
    """What a platform was before its backup, and that backup. The platform itself is gone."""

    folder: Path
    events: int
    versions: list[str]
    settings: Settings


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    folder = tmp_path_factory.mktemp("backup")
    settings = Settings(home=folder / "home", cache=folder / "cache", database_url=None, platform=free_ports())
    platform = Platform(settings)
    try:
        platform.up()
        with pytest.raises(PlatformError, match="outside"):
            backup(platform, settings.home / "inside", progress=told)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", platform.addresses.prefect_api_url)
            engine = make_engine(platform.database_url)
            fill_store(engine, tiny_bundle())
            engine.dispose()
            mlflow = platform.addresses.mlflow_url
            for version in ("1", "2"):
                register(mlflow, folder / "versions" / version)
            promote("1", settings=settings, actor="ann")
        backup(platform, folder / "kept", progress=told)
        before = Lost(folder / "kept", events(platform), versions(platform), settings)
        with pytest.raises(PlatformError, match="is up"):
            restore(platform, folder / "kept", force=True, progress=told)
    finally:
        platform.down()
        platform.remove()
    yield before


def versions(platform: Platform) -> list[str]:
    return sorted(found.version for found in registry.versions(platform.addresses.mlflow_url))


def test_only_its_owner_reads_a_backup_and_the_database_password_is_not_in_it(lost: Lost) -> None:
    assert lost.folder.stat().st_mode & 0o077 == 0
    names = {path.name for path in (lost.folder / "home" / "secrets").iterdir()}
    assert "webhook" in names and "postgres" not in names


def test_a_damaged_backup_is_refused_before_anything_is_touched(lost: Lost, tmp_path: Path) -> None:
    broken = shutil.copytree(lost.folder, tmp_path / "broken")
    dump = broken / "mlflow.dump"
    dump.write_bytes(dump.read_bytes()[:-1] + b"?")
    platform = Platform(lost.settings.model_copy(update={"home": tmp_path / "home"}))
    with pytest.raises(PlatformError, match=r"mlflow\.dump"):
        restore(platform, broken, progress=told)
    dump.unlink()
    with pytest.raises(PlatformError, match=r"mlflow\.dump"):
        restore(platform, broken, progress=told)
    (broken / MANIFEST).unlink()
    with pytest.raises(PlatformError, match="is no backup"):
        restore(platform, broken, progress=told)
    assert not platform.home.path.exists()


def test_a_backup_of_another_format_is_refused(lost: Lost, tmp_path: Path) -> None:
    other = shutil.copytree(lost.folder, tmp_path / "other")
    manifest = json.loads((other / MANIFEST).read_text())
    (other / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(PlatformError, match="format 99"):
        Backup.read(other)


def test_a_place_that_holds_something_needs_force(lost: Lost, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "platform.json").write_text("{}")
    platform = Platform(lost.settings.model_copy(update={"home": tmp_path / "home"}))
    with pytest.raises(PlatformError, match="--force"):
        restore(platform, lost.folder, progress=told)
    assert (tmp_path / "home" / "platform.json").read_text() == "{}"


def test_the_restored_platform_has_the_same_events_and_versions_and_serves_the_same_champion(
    lost: Lost, tmp_path: Path
) -> None:
    home = tmp_path / "elsewhere"
    restored = CliRunner(
        env={"DUOTEMPO_HOME": str(home), "DUOTEMPO_PLATFORM__POSTGRES_PORT": str(lost.settings.platform.postgres_port)}
    ).invoke(app, ["restore", str(lost.folder)])
    assert restored.exit_code == 0, restored.output
    assert "serves version 1" in restored.output
    platform = Platform(lost.settings.model_copy(update={"home": home}))
    try:
        platform.up()
        assert events(platform) == lost.events > 0
        assert versions(platform) == lost.versions == ["1", "2"]
        assert champion(platform.addresses.mlflow_url) == "1"
        assert served_version(platform) == "1"
        registry.download_bundle(platform.addresses.mlflow_url, "2", tmp_path / "bundle")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", platform.addresses.prefect_api_url)
            promote("2", settings=platform.settings, actor="ann")
        assert served_version(platform) == "2"
    finally:
        platform.down()
        platform.remove()
