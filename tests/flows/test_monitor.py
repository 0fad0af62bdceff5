"""The monitor flow on a real Prefect, Postgres and MLflow: metrics, stored rows, artifacts and early retrainings."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prefect import get_client
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import Artifact as Kept
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from sqlalchemy import Engine

from components import registry
from components.settings import Settings
from components.store.analytics import drift_history, online_history
from components.store.engine import make_engine
from flows.monitor import monitor
from flows.retrain import retrain
from tests.support.impressions import show, store_feedback
from tests.support.platforms import SharedPlatform
from tests.support.toy_data import tiny_bundle

pytestmark = pytest.mark.timeout(280)
NOW = datetime.now(UTC)
EVENTS = 150
"""Number of events of each type, and of answers; above `monitoring.min_events`."""


@dataclass(frozen=True)
class DriftedStore:
    """Synthetic data that changed from likes of even items to views of odd ones a week ago."""

    engine: Engine
    settings: Settings
    mlflow_url: str
    folder: Path


@pytest.fixture(scope="module")
def drifted(
    shared_platform: SharedPlatform, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DriftedStore]:
    """Uses a separate Prefect server without workers: a retraining is scheduled and never starts."""
    folder = tmp_path_factory.mktemp("monitor")
    shared_platform.renew()
    address = shared_platform.platform.addresses.mlflow_url
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        for name, value in {"HOME": folder / "home", "DATABASE_URL": database, "MONITORING__MIN_EVENTS": 100}.items():
            patch.setenv(f"DUOTEMPO_{name}", str(value))
        patch.setenv("MLFLOW_TRACKING_URI", address)
        with prefect_test_harness(120):
            patch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
            with get_client(sync_client=True) as client:
                client.create_deployment(client.create_flow(retrain), "nightly")
            engine = make_engine(database)
            yield DriftedStore(engine, Settings(), address, folder)
            engine.dispose()


def retrainings() -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        flows = {flow.id for flow in client.read_flows() if flow.name == "retrain"}
        return [run for run in client.read_flow_runs() if run.flow_id in flows]


def register(drifted: DriftedStore) -> None:
    """Registers a version whose snapshot ends ten days ago."""
    bundle = tiny_bundle(cut=(NOW - timedelta(days=10)).isoformat()).write(drifted.folder / "bundle")
    snapshot = drifted.folder / "snapshot"
    snapshot.mkdir()
    (snapshot / "manifest.json").write_text(json.dumps({"id": "s1"}))
    registry.register(
        drifted.mlflow_url, bundle=bundle, twin=bundle, snapshot=snapshot, metrics={}, settings={}, passed=True,
        reasons=[], reports={},
    )  # fmt: skip


def test_empty_store_is_measured_without_retraining(drifted: DriftedStore) -> None:
    result = monitor()
    assert set(result["drift"].values()) == {None}
    assert "there is no version yet" in result["decision"]
    assert all(Path(plot).is_file() for plot in result["plots"])
    assert len(drift_history(drifted.engine, NOW)) == 6
    assert retrainings() == []


def test_drift_starts_one_retraining(drifted: DriftedStore) -> None:
    register(drifted)
    even = [(f"u{n}", f"i{2 * (n % 10)}", "like", 8 + 20 * n / EVENTS, None, None) for n in range(EVENTS)]
    odd = [(f"u{n}", f"i{2 * (n % 10) + 1}", "view", 0.1 + 5 * n / EVENTS, f"r{n}", None) for n in range(EVENTS)]
    store_feedback(drifted.engine, [*even, *odd], now=NOW)
    for number in range(EVENTS):
        show(drifted.engine, f"r{number}", f"u{number}", [("i1", 1.0), ("i3", 1.0)], now=NOW, version="1")
    began = datetime.now(UTC)
    result = monitor()
    assert result["drift"]["events"] > 0.25
    assert "drift above 0.25: events" in result["decision"]
    (run,) = retrainings()
    assert result["retraining"].endswith(f"/runs/flow-run/{run.id}")

    metrics = {row["metric"]: row["mean"] for row in online_history(drifted.engine, began)}
    assert metrics["impressions"] == EVENTS
    assert {row["feature"]: row["value"] for row in drift_history(drifted.engine, began)} == result["drift"]
    page, table = Artifact.get("monitoring"), Artifact.get("drift")
    assert isinstance(page, Kept) and isinstance(page.data, str)
    assert isinstance(table, Kept) and isinstance(table.data, str)
    assert all(
        word in page.data
        for word in ("| champion |", "ctr@10", "much drift", f"[Retraining]({result['retraining']}) started")
    )
    assert [row["feature"] for row in json.loads(table.data)] == list(result["drift"])
    for plot in ("plot-variants", "plot-drift"):
        picture = Artifact.get(plot)
        assert isinstance(picture, Kept) and str(picture.data).startswith("data:image/png;base64,")
    assert str(drifted.folder) not in page.data

    again = monitor()
    assert "a retraining is running" in again["decision"]
    assert again["retraining"] is None and len(retrainings()) == 1


def test_failed_retraining_is_not_restarted_at_once(drifted: DriftedStore) -> None:
    from prefect.states import Failed, Running

    (run,) = retrainings()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Running(), force=True)
        client.set_flow_run_state(run.id, Failed(), force=True)
    assert "the last retraining started at" in monitor()["decision"]
    assert len(retrainings()) == 1


def test_monitor_deployment_is_hourly_and_never_concurrent() -> None:
    deployments = yaml.safe_load(Path("prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    deployment = next(one for one in deployments if one["entrypoint"] == "flows/monitor.py:monitor")
    assert (monitor.name, deployment["name"], deployment["work_pool"]) == ("monitor", "hourly", {"name": "cpu"})
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert deployment["schedules"][0]["cron"] == "0 * * * *"
