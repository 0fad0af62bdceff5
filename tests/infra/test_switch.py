"""A new Bento takes over the fixed address from the old one without losing a request under load."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, delete, func, select
from typer.testing import CliRunner

from benchmarks.load_clients import CALLERS, run_clients
from cli.main import app
from components.settings import Settings
from components.store.engine import make_engine
from components.store.schema import AssignedVariant, Impression
from components.store.variants import set_serving_champion
from infra.deploy.bento import bento_folder, build_bento
from infra.deploy.smoke_test import NEW_USER, active_users, smoke_test
from infra.home.errors import PlatformError, SmokeTestFailed
from infra.home.home import State
from infra.local.platform import Platform
from infra.processes.supervisor import Supervisor
from tests.support.platforms import SharedPlatform
from tests.support.toy_data import fill_store, tiny_bundle
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def tags(started: SharedPlatform, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Tags of Bentos of two versions; the first one serves."""
    platform = started.platform
    engine = make_engine(platform.addresses.database_url)
    fill_store(engine, tiny_bundle())
    engine.dispose()
    bundle = tiny_bundle().write(tmp_path_factory.mktemp("bundle"))
    home = platform.home.bentoml
    tags = [
        build_bento({new_version: bundle}, newest=new_version, champion=new_version, bentoml_home=home)
        for new_version in ("1", "2")
    ]
    platform.serve(tags[0])
    return tags


@pytest.fixture
def engine(started: SharedPlatform) -> Iterator[Engine]:
    engine = make_engine(started.platform.addresses.database_url)
    yield engine
    with engine.begin() as connection:
        connection.execute(delete(AssignedVariant))
    engine.dispose()


def load(platform: Platform) -> AbstractContextManager[Counter[str]]:
    return run_clients(platform.addresses.serving_url, [f"u{number}" for number in range(CALLERS)])


def answered(seen: Counter[str], version: str, more_than: int) -> bool:
    return seen[version] > more_than


def version(platform: Platform) -> str:
    return str(httpx.get(f"{platform.addresses.serving_url}/readyz", timeout=20).json()["model_version"])


def test_service_of_another_platform_is_rejected(started: SharedPlatform, tags: list[str], tmp_path: Path) -> None:
    platform, database = started.platform, started.platform.addresses.database_url
    assert platform.service_url == platform.addresses.serving_url
    other = Platform(Settings(home=tmp_path / "home", database_url=database))
    other.home.make()
    other.home.save(State(ports=platform.home.state.ports))
    variables = {"DUOTEMPO_HOME": str(other.home.path), "DUOTEMPO_DATABASE_URL": database, "COLUMNS": "400"}
    refused = CliRunner(env=variables).invoke(app, ["recommend", "u0"])
    assert refused.exit_code == 1
    assert f"another platform ({platform.home.id})" in " ".join(refused.stderr.split())


def test_bento_switch_loses_no_request(started: SharedPlatform, tags: list[str]) -> None:
    platform = started.platform
    with load(platform) as seen:
        eventually(lambda: seen["1"] > 20, seconds=60)
        platform.serve(tags[1])
        answered_before = sum(seen.values())
        eventually(lambda: sum(seen.values()) > answered_before + 50, seconds=60)
        at_switch = Counter(seen)
        eventually(lambda: sum(seen.values()) > sum(at_switch.values()) + 50, seconds=60)
        platform.serve(tags[0])
    assert set(seen) == {"1", "2"}, seen
    assert version(platform) == "1"


def test_bento_that_does_not_start_loses_no_request(started: SharedPlatform, tags: list[str]) -> None:
    platform = started.platform
    with (
        load(platform) as seen,
        pytest.raises(PlatformError, match="bento-nothing does not start"),
    ):
        platform.serve("duotempo:nothing")
    assert set(seen) == {"1"}, seen
    assert platform.served() == {"bento_tag": tags[0], "model_version": "1"}
    assert platform.status()["services"]["bento"]["healthy"]


def test_bento_is_smoke_tested_before_takeover(started: SharedPlatform, tags: list[str], engine: Engine) -> None:
    platform = started.platform
    users = active_users(engine)
    assert {"u0", "u1", "u2"} >= set(users)
    with load(platform) as seen:
        eventually(lambda: seen["1"] > 20, seconds=60)
        with pytest.raises(SmokeTestFailed, match=rf"{tags[1]} failed its smoke test: /recommend.*version 3 cannot"):
            platform.serve(tags[1], lambda client: smoke_test(client, ["2", "3"], users))
        answered_before = sum(seen.values())
        eventually(lambda: sum(seen.values()) > answered_before + 50, seconds=60)
    assert set(seen) == {"1"}, seen
    assert platform.served() == {"bento_tag": tags[0], "model_version": "1"}
    with engine.connect() as connection:
        impressions = select(func.count()).where(Impression.user_id == NEW_USER)
        assert connection.scalar(impressions) == 0, "smoke tests store no impressions"
    platform.serve(tags[1], lambda client: smoke_test(client, ["2"], users))
    assert version(platform) == "2"
    platform.serve(tags[0])


def test_damaged_bundle_error_quotes_the_service(started: SharedPlatform, tags: list[str], tmp_path: Path) -> None:
    platform = started.platform
    folder = tiny_bundle().write(tmp_path / "bundle")
    (folder / "user_tower.onnx").unlink()
    tag = build_bento({"9": folder}, newest="9", champion="9", bentoml_home=platform.home.bentoml)
    with pytest.raises(SmokeTestFailed, match=r"it is not ready: .*user_tower\.onnx"):
        platform.serve(tag, lambda client: None)
    assert version(platform) == "1"


def test_switch_inside_a_bento_loses_no_request(started: SharedPlatform, tags: list[str], engine: Engine) -> None:
    platform, home = started.platform, started.platform.home.bentoml
    bundles = dict.fromkeys(("1", "2"), bento_folder(tags[0], home) / "src" / "bundles" / "1")
    platform.serve(build_bento(bundles, newest="2", champion="1", bentoml_home=home))
    with load(platform) as seen:
        for new_version in ("2", "1"):
            set_serving_champion(engine, new_version)
            before = seen[new_version]
            eventually(partial(answered, seen, new_version, before + 50), seconds=60)
    assert set(seen) == {"1", "2"}, seen
    platform.serve(tags[0])


def test_address_process_can_die_and_recover(started: SharedPlatform, tags: list[str]) -> None:
    """The Bento keeps its socket, and the next one can still take over."""
    platform = started.platform
    address_pid = Supervisor(platform.home).processes()["address"].pid
    assert address_pid is not None
    os.kill(address_pid, signal.SIGKILL)
    assert version(platform) == "1"
    eventually(lambda: Supervisor(platform.home).processes()["address"].pid not in (None, address_pid), seconds=60)
    platform.serve(tags[1])
    assert version(platform) == "2"


def test_killed_bento_recovers(started: SharedPlatform, tags: list[str]) -> None:
    platform = started.platform
    pid = platform.status()["services"]["bento"]["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: platform.status()["services"]["bento"]["healthy"], seconds=120)
    assert platform.status()["services"]["bento"]["pid"] != pid
    assert version(platform) == "2"
