"""The adapt flow on a real Prefect, Postgres and MLflow: from a snapshot to a registered custom encoder."""

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import Artifact as Kept

from components.adaptation.run import AdaptationRun, adapt_encoder, collect_pairs
from components.datasets.sources import Dataset
from components.embedding.encoder import make_encoder
from components.registry.connection import connect
from components.settings import Settings
from components.store.engine import make_engine
from components.store.snapshot import latest_snapshot
from flows.adapt import adapt
from tests.support import tiny_models
from tests.support.loading import ingest
from tests.support.platforms import SharedPlatform

pytestmark = pytest.mark.timeout(280)
NOW = datetime.now(UTC).replace(microsecond=0)
TASTES, PEOPLE, ITEMS, VISITS = 3, 24, 30, 10
LATE = "narwhal"
"""A word that only occurs in items without events before the cut of `rolling`."""


def shop() -> Dataset:
    """Synthetic data: users stay with items of one taste; the last events are on new items."""
    random = np.random.default_rng(0)
    rows = []
    for person in range(PEOPLE):
        taste = person % TASTES
        tour = random.permutation(np.arange(taste, ITEMS, TASTES))[:VISITS]
        rows += [(f"u{person}", f"i{item}", 24.0 + VISITS - at + person / 100) for at, item in enumerate(tour)]
        rows.append((f"u{person}", f"new{taste}", 1.0 + person / 100))
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "hours"])
    events["timestamp"] = [(NOW - timedelta(hours=hours)).timestamp() for hours in events.pop("hours")]
    kinds = ("garden", "kitchen", "harbor")
    items = [(f"i{item}", f"{kinds[item % TASTES]} tool {item}") for item in range(ITEMS)]
    items += [(f"new{taste}", f"{kinds[taste]} {LATE}") for taste in range(TASTES)]
    return Dataset("shop", events.assign(event="like"), pd.DataFrame(items, columns=["item_id", "title"]))


@dataclass(frozen=True)
class Adapted:
    result: dict[str, Any]
    settings: Settings
    mlflow_url: str


@pytest.fixture(scope="module")
def adapted(
    shared_platform: SharedPlatform, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Adapted]:
    """Result of the flow, which takes the snapshot itself."""
    home = tmp_path_factory.mktemp("home")
    base = tiny_models.llama(home / "base")
    variables = {
        "HOME": home / "platform", "CACHE": home / "cache", "DATABASE_URL": database,
        "EMBEDDING__MODEL": base, "EMBEDDING__MAX_LENGTH": 48,
        "ADAPTATION__EPOCHS": 2, "ADAPTATION__LEARNING_RATE": 1e-2, "ADAPTATION__HELD_OUT": 0.3,
        "FUSION__EPOCHS": 2, "FUSION__WIDTH": 16, "FUSION__BLOCKS": 1, "EVALUATION__BOOTSTRAP": 100,
    }  # fmt: skip
    shared_platform.renew()
    with shared_platform.shell.inside(), pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(f"DUOTEMPO_{name}", str(value))
        settings = Settings()
        engine = make_engine(database)
        report = ingest(engine, shop(), settings, source="shop", now=NOW)
        engine.dispose()
        assert report.accepted == PEOPLE * (VISITS + 1)
        yield Adapted(adapt(), settings, os.environ["MLFLOW_TRACKING_URI"])


def test_encoder_is_evaluated_on_rolling_and_cold_items(adapted: Adapted) -> None:
    result = adapted.result
    assert set(result["metrics"]) == {"base", "adapted"}
    assert result["slices"]["cold items"]["targets"] > 0
    for group in ("all targets", *result["slices"]):
        models = result["metrics"] if group == "all targets" else result["slices"][group]["models"]
        mean, low, high = result["differences"][group]
        assert mean == pytest.approx(models["adapted"]["ndcg@10"] - models["base"]["ndcg@10"])
        assert low <= mean <= high
    gain = max(result["differences"][group][1] for group in ("all targets", "cold items"))
    if result["gate"]["passed"]:
        assert gain > 0
    else:
        assert any(reason.startswith(("gain", "no loss")) for reason in result["gate"]["reasons"])


def test_encoder_folder_can_be_used_as_model(adapted: Adapted) -> None:
    folder = Path(adapted.result["encoder"])
    assert folder.parent == adapted.settings.home / "encoders"
    base = adapted.settings.embedding
    new = make_encoder(base.model_copy(update={"model": str(folder)}))
    assert new.revision != make_encoder(base).revision
    difference = new.encode(["garden tool"]) - make_encoder(base).encode(["garden tool"])
    assert np.abs(difference).max() > 1e-3


def test_encoder_is_registered_as_a_separate_model(adapted: Adapted, tmp_path: Path) -> None:
    client = MlflowClient(adapted.mlflow_url)
    version = client.get_model_version("duotempo-encoder", adapted.result["version"])
    assert version.tags["gate"] == ("passed" if adapted.result["gate"]["passed"] else "failed")
    assert version.tags["gate_reason"] == "; ".join(adapted.result["gate"]["reasons"])
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    figures = run.data.metrics
    assert figures["held_out.mrr"] == adapted.result["held_out"]["mrr"]
    assert figures["difference.cold_items.low"] == adapted.result["differences"]["cold items"][1]
    assert figures["base.ndcg_at_10"] == adapted.result["metrics"]["base"]["ndcg@10"]
    assert "database_url" not in run.data.params
    assert not client.search_registered_models("name='duotempo'")

    uri = f"models:/duotempo-encoder/{version.version}"
    with connect(adapted.mlflow_url):
        copy = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(tmp_path)))
    base = adapted.settings.embedding
    registered, here = (
        make_encoder(base.model_copy(update={"model": str(folder)})).encode(["garden tool"])
        for folder in (copy, adapted.result["encoder"])
    )
    np.testing.assert_array_equal(registered, here)


def test_artifact_compares_both_encoders(adapted: Adapted) -> None:
    page = Artifact.get("adaptation")
    assert isinstance(page, Kept) and isinstance(page.data, str)
    assert all(word in page.data for word in ("Gate", "| base |", "| adapted |", "cold items", "mrr base"))


def test_pairs_precede_the_cut_of_rolling(adapted: Adapted) -> None:
    snapshot = latest_snapshot(adapted.settings.home / "snapshots")
    assert snapshot is not None
    assert snapshot.events()["item_id"].str.startswith("new").any()
    pairs = collect_pairs(AdaptationRun.open(snapshot.path, adapted.settings))
    used = [pairs.texts[row] for row in (*pairs.queries, *pairs.positives)]
    assert len(pairs) > PEOPLE and any("garden tool" in text for text in used)
    assert not any(LATE in text for text in used)


def test_local_adaptation_gives_the_same_metrics(adapted: Adapted) -> None:
    snapshot = latest_snapshot(adapted.settings.home / "snapshots")
    assert snapshot is not None
    settings = adapted.settings.model_copy(update={"home": adapted.settings.home / "again", "database_url": None})
    folder, adaptation, comparison = adapt_encoder(snapshot.path, settings, show_progress=False)
    assert folder.name == Path(adapted.result["encoder"]).name
    assert adaptation.mrr == adapted.result["held_out"]["mrr"]
    assert comparison.metrics["adapted"]["ndcg@10"] == adapted.result["metrics"]["adapted"]["ndcg@10"]
    again, repeated, _ = adapt_encoder(snapshot.path, settings, show_progress=False)
    assert (again, repeated) == (folder, adaptation), "a finished encoder is reused"


def test_other_settings_give_another_encoder_folder(adapted: Adapted) -> None:
    snapshot = latest_snapshot(adapted.settings.home / "snapshots")
    assert snapshot is not None
    other = adapted.settings.model_copy(deep=True)
    other.adaptation.rank = 2
    assert AdaptationRun.open(snapshot.path, adapted.settings).encoder == Path(adapted.result["encoder"])
    assert AdaptationRun.open(snapshot.path, other).encoder != Path(adapted.result["encoder"])


def test_adapt_deployment_runs_on_the_gpu_pool() -> None:
    deployments = yaml.safe_load(Path("prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    deployment = next(one for one in deployments if one["entrypoint"].startswith("flows/adapt.py:"))
    module, name = (
        deployment["entrypoint"].removesuffix(":adapt").removesuffix(".py").replace("/", "."),
        deployment["name"],
    )
    assert (importlib.import_module(module).adapt.name, name) == ("adapt", "gpu")
    assert deployment["work_pool"] == {"name": "gpu", "work_queue_name": "training"}
