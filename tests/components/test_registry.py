"""The registry against a real MLflow server."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from components import registry
from components.bundle.bundle import Bundle, BundleError
from components.histories.states import UserState
from components.ranking.scorer import Scorer
from components.registry.connection import connect
from tests.support.mlflow import mlflow_server
from tests.support.ports import free_port
from tests.support.toy_data import tiny_bundle

CUT, TWIN_CUT = "2024-06-01T00:00:00+00:00", "2024-05-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


def snapshot_id(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode()).hexdigest()


def write_training(folder: Path) -> dict[str, Path]:
    """Writes the output of a retraining: two bundles, a snapshot, reports."""
    snapshot, report = folder / "snapshot", folder / "evaluation"
    snapshot.mkdir()
    (snapshot / "manifest.json").write_text(json.dumps({"id": snapshot_id(folder), "cut": CUT, "rows": {"events": 7}}))
    report.mkdir()
    (report / "report.md").write_text("# Report")
    (folder / "data_docs.html").write_text("<h1>Data Docs</h1>")
    return {
        "bundle": tiny_bundle(seed=1, cut=CUT).write(folder / "bundle"),
        "twin": tiny_bundle(seed=2, cut=TWIN_CUT).write(folder / "twin"),
        "snapshot": snapshot,
        "report": report,
        "docs": folder / "data_docs.html",
    }


@pytest.fixture
def training(tmp_path: Path) -> dict[str, Path]:
    return write_training(tmp_path)


def register(uri: str, training: dict[str, Path], *, reasons: tuple[str, ...] = ()) -> registry.Registered:
    return registry.register(
        uri,
        bundle=training["bundle"],
        twin=training["twin"],
        snapshot=training["snapshot"],
        metrics={"duotempo/ndcg@10": 0.25, "popularity.mrr": float("nan")},
        settings={"database_url": "postgresql://me:secret@db/x", "fusion": {"width": 64}, "preset": ""},
        passed=not reasons,
        reasons=reasons,
        reports={"evaluation": training["report"], "data_docs": training["docs"]},
    )


@dataclass(frozen=True)
class RegisteredTraining:
    """A training and its registered version."""

    training: dict[str, Path]
    registered: registry.Registered


@pytest.fixture(scope="module")
def registered_training(uri: str, tmp_path_factory: pytest.TempPathFactory) -> RegisteredTraining:
    """A registered training that no test modifies."""
    training = write_training(tmp_path_factory.mktemp("known"))
    return RegisteredTraining(training, register(uri, training))


def test_a_registered_version_has_its_provenance(uri: str, training: dict[str, Path]) -> None:
    registered = register(uri, training)
    version = registry.version(uri, registered.version)
    assert version.aliases == ("challenger",)
    assert version.metrics == pytest.approx({"duotempo/ndcg@10": 0.25, "popularity.mrr": float("nan")}, nan_ok=True)
    assert version.gate_passed
    assert version.tags["snapshot_id"] == snapshot_id(training["bundle"].parent)
    assert (version.tags["cut"], version.tags["twin_cut"]) == (CUT, TWIN_CUT)
    assert version.tags["git_commit"]
    assert registered.url == version.url == f"{uri}/#/models/duotempo/versions/{registered.version}"


def test_the_run_logs_settings_input_and_reports_but_no_secret(
    uri: str, registered_training: RegisteredTraining
) -> None:
    training, registered = registered_training.training, registered_training.registered
    client = MlflowClient(uri)
    run = client.get_run(registered.run_id)
    assert run.data.params == {"fusion.width": "64", "preset": ""}
    assert run.inputs is not None
    (dataset,) = run.inputs.dataset_inputs
    assert snapshot_id(training["bundle"].parent).startswith(dataset.dataset.digest)
    assert json.loads(dataset.dataset.source)["uri"] == training["snapshot"].as_uri()
    artifacts = {file.path for file in client.list_artifacts(registered.run_id)}
    assert {"evaluation", "data_docs", "twin", "snapshot"} <= artifacts


def test_bundle_and_twin_are_downloaded_as_registered(
    uri: str, registered_training: RegisteredTraining, tmp_path: Path
) -> None:
    number = registered_training.registered.version
    bundle = Bundle.read(registry.download_bundle(uri, number, tmp_path / "back" / "bundle"))
    twin = Bundle.read(registry.download_twin(uri, number, tmp_path / "back" / "twin"))
    np.testing.assert_array_equal(bundle.vectors, tiny_bundle(seed=1).vectors)
    np.testing.assert_array_equal(twin.vectors, tiny_bundle(seed=2).vectors)
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"bundle", "twin"}
    again = registry.download_bundle(uri, number, tmp_path / "back" / "bundle")
    assert Bundle.read(again).manifest["cut"] == CUT


def test_a_damaged_copy_is_downloaded_again_and_a_damaged_original_is_an_error(
    uri: str, training: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    registered = register(uri, training)
    copy = registry.download_bundle(uri, registered.version, tmp_path / "copy")
    (copy / "terms.json").write_text("[]")
    Bundle.read(registry.download_bundle(uri, registered.version, copy))
    shutil.rmtree(copy)
    shutil.copytree(training["twin"], copy)  # whole, but of another version
    assert Bundle.read(registry.download_bundle(uri, registered.version, copy)).manifest["cut"] == CUT
    originals = tmp_path_factory.getbasetemp().glob("mlflow*/artifacts/**/artifacts/bundle/vectors.npy")
    original = max(originals, key=lambda file: file.stat().st_mtime)
    original.write_bytes(original.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"in MLflow at .* is damaged: retrain .*vectors\.npy"):
        registry.download_bundle(uri, registered.version, tmp_path / "another")


def test_the_model_recommends_as_the_scorer_does(uri: str, registered_training: RegisteredTraining) -> None:
    number = registered_training.registered.version
    with connect(uri):
        model = mlflow.pyfunc.load_model(f"models:/duotempo/{number}")
    answer = model.predict(pd.DataFrame({"history": [["i3", "i5", "no such item"], []], "k": [5, 50]}))

    now = pd.Timestamp(CUT).timestamp()
    state = UserState(np.array([3, 5]), np.array([now - 3600, now]), np.ones(2, dtype=np.float32), now)
    scores = Scorer(tiny_bundle(seed=1)).score([state]).total[0]
    expected = [f"i{row}" for row in np.argsort(-scores) if row not in (3, 5)][:5]
    assert list(answer["item_ids"][0]) == expected
    assert list(answer["scores"][0]) == sorted(answer["scores"][0], reverse=True)
    assert len(answer["item_ids"][1]) == 40


def test_a_failed_gate_is_tagged_with_its_reasons(uri: str, training: dict[str, Path]) -> None:
    number = register(uri, training, reasons=("below popularity", "coverage halved")).version
    version = registry.version(uri, number)
    assert not version.gate_passed
    assert version.gate_reason == "below popularity; coverage halved"


def test_the_alias_champion_can_be_moved_and_removed(uri: str, training: dict[str, Path]) -> None:
    first, second = register(uri, training).version, register(uri, training).version
    registry.set_champion(uri, first)
    champion = registry.champion(uri)
    assert champion is not None and champion.version == first
    assert "challenger" in registry.version(uri, second).aliases
    registry.set_champion(uri, second)
    champion = registry.champion(uri)
    assert champion is not None and champion.aliases == ("challenger", "champion")
    registry.clear_champion(uri)
    assert registry.champion(uri) is None


def test_a_refusal_lasts_until_the_next_promotion(uri: str, training: dict[str, Path]) -> None:
    number = register(uri, training).version
    registry.tag_refused(uri, number, "no answer to /readyz")
    assert registry.version(uri, number).tags["refused"] == "no answer to /readyz"
    registry.set_champion(uri, number)
    assert "refused" not in registry.version(uri, number).tags


def copy_version(uri: str, number: str, model: str = registry.PRODUCTION) -> str:
    """Copies a version as the UI's button does, with its source, run and tags."""
    client = MlflowClient(uri)
    version = client.get_model_version(registry.NAME, number)
    source = f"models:/{registry.NAME}/{number}"
    return str(client.create_model_version(model, source, version.run_id, dict(version.tags)).version)


def test_the_model_descriptions_say_how_to_promote(uri: str, training: dict[str, Path]) -> None:
    register(uri, training)
    client = MlflowClient(uri)
    for name in (registry.NAME, registry.PRODUCTION):
        assert "add the alias `champion`" in client.get_registered_model(name).description
    client.update_registered_model(registry.NAME, "our own words")
    registry.ensure_model_pages(uri)
    assert client.get_registered_model(registry.NAME).description == "our own words"


def test_the_newest_copy_sets_the_alias_once(uri: str, training: dict[str, Path]) -> None:
    first, second = (register(uri, training).version for _ in range(2))
    copy_version(uri, second)
    copy = copy_version(uri, first)
    assert registry.promote_newest_copy(uri) == f"copy {copy} of version {first} was made in {registry.PRODUCTION}"
    assert registry.champion_number(uri) == first
    registry.set_champion(uri, second)
    assert registry.promote_newest_copy(uri) == "", "a later alias counts more"
    assert registry.champion_number(uri) == second
    client = MlflowClient(uri)
    registry.publish_statuses(uri, {first: registry.VersionStatus("rolled back", "why")})
    for model, number in ((registry.NAME, first), (registry.PRODUCTION, copy)):
        version = client.get_model_version(model, number)
        assert (version.tags["status"], version.description) == ("rolled back", "rolled back: why — Duotempo")


def test_an_unrelated_model_of_the_same_name_is_ignored(uri: str, training: dict[str, Path]) -> None:
    number = register(uri, training).version
    client = MlflowClient(uri)
    client.delete_registered_model(registry.PRODUCTION)
    client.create_registered_model(registry.PRODUCTION)
    registry.ensure_model_pages(uri)
    copy_version(uri, number)
    before = registry.champion_number(uri)
    assert registry.promote_newest_copy(uri) == ""
    assert registry.champion_number(uri) == before
    client.delete_registered_model(registry.PRODUCTION)
    registry.ensure_model_pages(uri)


def test_an_unknown_version_is_an_error_that_lists_the_versions(uri: str, training: dict[str, Path]) -> None:
    number = register(uri, training).version
    with pytest.raises(registry.RegistryError, match=rf"no version '999'.*known versions: {number}, "):
        registry.set_champion(uri, "999")


def test_an_incomplete_training_registers_nothing(uri: str, training: dict[str, Path]) -> None:
    before = len(registry.versions(uri))
    (training["twin"] / "manifest.json").unlink()
    with pytest.raises(registry.RegistryError, match=r"twin/manifest\.json is missing"):
        register(uri, training)
    with pytest.raises(registry.RegistryError, match=r"no report is missing"):
        register(uri, training | {"twin": training["bundle"], "report": training["bundle"].parent / "no report"})
    assert len(registry.versions(uri)) == before


def test_an_unavailable_registry_is_named_with_the_remedy(training: dict[str, Path]) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(registry.RegistryUnavailable, match=rf"MLflow at {address} does not answer.*duotempo up"):
        register(address, training)


def test_a_connection_restores_the_default_server(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with connect(uri):
        pass
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:2")
    assert mlflow.get_tracking_uri() == "http://127.0.0.1:2"
