"""The whole loop as a user runs it: from a folder of events to recommendations, feedback, retraining and erasure."""

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient

from components import registry
from components.core.columns import Columns
from components.datasets.chinese import chinese_sample
from components.registry import Version
from components.store.snapshot import Snapshot, latest_snapshot
from infra.orchestration.client import start_deployment
from tests.support.command_result import Answer
from tests.support.shell import USER, Shell
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)

MARKER_LOSS = 77.0
"""A loss that no training produces; it marks a checkpoint, to prove that a training resumed from it."""


@pytest.fixture(scope="module")
def promoted(shell: Shell, first: Answer) -> Answer:
    """Promotes version 1 whatever the gate's result, since the sample is small."""
    return shell.run("promote", "1", "--force", "--why", "the sample is small", apart=True)


@pytest.fixture(scope="module")
def first_list(shell: Shell, promoted: Answer) -> dict[str, Any]:
    """The first list shown to a user, who has sent feedback on it."""
    before = shell.post("/recommend", {"user_id": USER, "k": 10, "explain": True})
    kinds = ("like", "dislike", "click", "hide")
    events = [
        {"user_id": USER, "item_id": item["item_id"], "event": kind, "request_id": before["request_id"]}
        for item, kind in zip(before["items"], kinds, strict=False)
    ]
    response = shell.post("/feedback", {"events": events})
    assert response == {"accepted": len(kinds), "duplicates": 0, "spooled": 0, "rejected": [], "dropped": 0}
    return before


@pytest.fixture(scope="module")
def resumed(shell: Shell, first_list: dict[str, Any]) -> dict[str, Any]:
    """The second retraining: its training is killed midway together with both workers, and is rerun.

    Returns the run's id and state, and the checkpoint that it resumed from.
    """
    done = {file.parent for file in checkpoints(shell)}
    services = shell.status()["services"]
    workers = [psutil.Process(services[f"worker-{pool}"]["pid"]) for pool in ("cpu", "gpu")]
    run_id = shell.run("retrain").out.strip().split("/flow-run/")[1]
    (checkpoint,) = eventually(lambda: [file for file in checkpoints(shell) if file.parent not in done])
    training = shell.prefect.runs("fuse")[0]["id"]
    for process in [*workers, *shell.flow_run_processes(run_id), *shell.flow_run_processes(training)]:
        process.kill()
    assert len(registry.versions(shell.mlflow_url)) == 1
    saved = torch.load(checkpoint, weights_only=True)
    saved["progress"]["losses"][0] = MARKER_LOSS
    torch.save(saved, checkpoint)
    eventually(lambda: state(shell, run_id) in ("COMPLETED", "FAILED"), 600)
    return {"id": run_id, "checkpoint": checkpoint, "state": state(shell, run_id)}


def checkpoints(shell: Shell) -> list[Path]:
    return list(shell.home.glob("runs/*/twin.checkpoint"))


def state(shell: Shell, run_id: str) -> str:
    return str(shell.prefect.run(run_id)["state_type"])


def version(shell: Shell, number: str) -> Version:
    return registry.version(shell.mlflow_url, number)


def served(shell: Shell) -> str:
    return str(shell.status()["served"]["model_version"])


def snapshot(shell: Shell) -> Snapshot:
    latest = latest_snapshot(shell.home / "snapshots")
    assert latest
    return latest


def test_a_taken_port_is_replaced_and_the_platform_is_healthy(shell: Shell, up: Answer) -> None:
    taken = shell.environment["DUOTEMPO_PLATFORM__MLFLOW_PORT"]
    assert f"port {taken} is taken: mlflow gets " in up.text
    status = shell.status()
    assert set(status) == {"services", "served", "variants", "state", "problems", "unserved", "exit"}
    assert {"postgres", "prefect", "mlflow"} <= set(status["services"])
    assert "bento" not in status["services"]
    for name, service in status["services"].items():
        assert set(service) == {"url", "healthy", "pid", "login"}
        assert (service["login"] is not None) == (name in ("prefect", "mlflow"))
        assert service["healthy"]
    assert not status["services"]["mlflow"]["url"].endswith(f":{taken}")
    assert (status["state"], status["served"], status["problems"]) == ("healthy", None, [])


def test_commands_without_a_version_name_the_next_step(shell: Shell, up: Answer) -> None:
    assert "duotempo retrain" in shell.run("promote", "1", fails=True).text
    assert "duotempo promote" in shell.run("rollback", fails=True).text
    assert "duotempo status" in shell.run("recommend", USER, fails=True).text


def test_the_sample_is_ingested_once(shell: Shell, ingested: Answer, folder: Path) -> None:
    interactions, items = chinese_sample()
    assert shell.sql("SELECT count(*) FROM items") == [(len(items),)]
    ((stored,),) = shell.sql("SELECT count(*) FROM events")
    assert stored == len(interactions.drop_duplicates())
    again = shell.run("ingest", folder)
    assert "accepted" in again.text
    assert shell.sql("SELECT count(*) FROM events") == [(stored,)]
    assert shell.sql("SELECT count(*) FROM quarantine") == [(0,)]


def test_a_failed_critical_expectation_stops_before_training(shell: Shell, ingested: Answer) -> None:
    shell.sql(
        "INSERT INTO events (event_id, occurred_at, user_id, item_id, event, source, value) "
        "SELECT 'stray', max(occurred_at), %s, min(item_id), 'like', 'test', 1e300 FROM events",
        USER,
    )
    try:
        stopped = shell.run("retrain", "--wait", fails=True)
    finally:
        shell.sql("DELETE FROM events WHERE event_id = 'stray'")
    assert "nothing was trained: events: Every value is finite" in stopped.text
    assert re.search(r"1 of \d+ rows fail, such as .*1e\+300", stopped.text)
    docs = Path(unquote(stopped.text.split("file://")[1].split("index.html")[0])) / "index.html"
    assert "1e+300" in docs.read_text(encoding="utf-8")
    assert registry.versions(shell.mlflow_url) == []
    assert not list(docs.parents[2].glob("*/bundle"))
    (failed, *_) = shell.prefect.runs("retrain")
    assert failed["state_type"] == "FAILED"


def test_the_first_retraining_takes_a_snapshot_and_validates_it(shell: Shell, first: Answer) -> None:
    taken = shell.home / "snapshots" / version(shell, "1").tags["snapshot_id"][:12]
    (folder,) = shell.home.glob(f"snapshots/*-{taken.name}")
    opened = Snapshot.open(folder)
    assert opened.manifest["rows"] == {"events": len(chinese_sample()[0].drop_duplicates()), "items": 120}
    assert (opened.events()[Columns.OCCURRED_AT] < opened.cut).all()
    for stage in ("snapshot", "features"):
        report = shell.home / "runs" / folder.name / "validation" / stage
        assert (report / "index.html").is_file()
        assert json.loads((report / "result.json").read_text(encoding="utf-8"))["success"]


def test_chinese_texts_get_the_multilingual_encoder_and_a_warning(shell: Shell, first: Answer) -> None:
    assert "warning: packaged:minilm does not know" in first.text
    assert "packaged:multilingual is used instead" in first.text
    (row,) = json.loads(shell.prefect.artifacts(shell.prefect.runs("embed")[0]["id"])["embeddings"]["data"])
    assert row["computed"] > 0
    assert shell.sql("SELECT DISTINCT encoder FROM user_vectors") == [(row["encoder"],)]
    assert row["encoder"] in first.text


def test_the_first_version_records_its_provenance(shell: Shell, first: Answer) -> None:

    registered = version(shell, "1")
    assert registered.aliases == ("challenger",)
    assert registered.tags["gate"] in ("passed", "failed")
    assert all(registered.tags[name] for name in ("gate_reason", "git_commit", "snapshot_id", "cut", "twin_cut"))
    assert registered.tags["twin_cut"] < registered.tags["cut"]
    assert {"duotempo.ndcg@10", "pop.ndcg@10", "pop7.hr@10", "duotempo.coverage@10"} <= set(registered.metrics)
    client = MlflowClient(shell.mlflow_url)
    run = client.get_run(registered.run_id)
    assert run.data.params["fusion.epochs"] == "3"
    assert not any("database_url" in name for name in run.data.params)
    assert run.inputs
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["snapshot"]
    assert {"twin", "report", "validation", "snapshot"} <= {
        entry.path for entry in client.list_artifacts(registered.run_id)
    }
    assert "twin/manifest.json" in {entry.path for entry in client.list_artifacts(registered.run_id, "twin")}
    assert f"gate: {registered.tags['gate']}: {registered.tags['gate_reason'][:20]}" in first.text
    assert "duotempo promote 1" in first.text


def test_the_first_run_is_completed_with_its_reports(shell: Shell, first: Answer) -> None:
    run = next(run for run in shell.prefect.runs("retrain") if run["state_type"] == "COMPLETED")
    artifacts = shell.prefect.artifacts(run["id"])
    assert {"validation-snapshot", "validation-features", "evaluation"} <= set(artifacts)
    trained = next(run for run in shell.prefect.runs("fuse") if run["state_type"] == "COMPLETED")
    assert {"fusion", "fusion-twin", "fusion-model"} <= set(shell.prefect.artifacts(trained["id"]))
    assert artifacts["evaluation"]["type"] == "markdown"
    assert "ndcg@10" in artifacts["evaluation"]["data"].lower()


def test_a_version_that_failed_the_gate_needs_force_and_a_reason(shell: Shell, first: Answer) -> None:

    client = MlflowClient(shell.mlflow_url)
    client.set_model_version_tag("duotempo", "1", "gate", "failed")
    client.set_model_version_tag("duotempo", "1", "gate_reason", "it is no better than popularity")
    refused = shell.run("promote", "1", fails=True)
    assert "version 1 did not pass the gate: it is no better than popularity" in refused.text
    assert "needs a why" in shell.run("promote", "1", "--force", fails=True).text
    assert version(shell, "1").aliases == ("challenger",)
    assert shell.sql("SELECT count(*) FROM promotions") == [(0,)]
    assert "no version '9'" in shell.run("promote", "9", fails=True).text


def test_a_promoted_version_serves(shell: Shell, promoted: Answer) -> None:
    status = shell.status()
    assert status["served"]["model_version"] == "1"
    assert status["services"]["bento"]["healthy"]
    assert status["served"]["bento_tag"] in promoted.text
    assert "champion" in version(shell, "1").aliases
    lines = shell.sql("SELECT version, from_version, actor, reason, state FROM promotions ORDER BY promotion_id")
    expected = ("1", None, "command line", "the sample is small")
    assert lines == [(*expected, "requested"), (*expected, "serving")]


def test_recommendations_have_explanations(shell: Shell, first_list: dict[str, Any]) -> None:
    assert first_list["user_state"] == "known"
    assert (first_list["model_version"], first_list["degraded"]) == ("1", False)
    assert len(first_list["items"]) == 10
    assert all(item["why"]["text"] and item["title"] for item in first_list["items"])
    interest = first_list["interest"]
    assert interest["long_weight"] + interest["short_weight"] == pytest.approx(1.0)
    assert interest["long"]
    assert interest["short"]
    seen = {row[0] for row in shell.sql("SELECT item_id FROM events WHERE user_id = %s AND source = 'shop'", USER)}
    assert not seen & {item["item_id"] for item in first_list["items"]}


def test_feedback_is_stored_and_changes_the_next_list(shell: Shell, first_list: dict[str, Any]) -> None:
    request = first_list["request_id"]
    rows = shell.sql("SELECT item_id, event FROM events WHERE request_id = %s ORDER BY received_at, event", request)
    shown = [item["item_id"] for item in first_list["items"]]
    assert sorted(rows) == sorted(zip(shown, ("like", "dislike", "click", "hide"), strict=False))
    query = "SELECT user_id, model_version FROM impressions WHERE request_id = %s"
    eventually(lambda: shell.sql(query, request) == [(USER, "1")], seconds=10)
    after = shell.post("/recommend", {"user_id": USER, "k": 10})
    assert not {item for item, _ in rows} & {item["item_id"] for item in after["items"]}


def test_the_command_line_shows_recommendations(shell: Shell, first_list: dict[str, Any]) -> None:
    shown = shell.run("recommend", USER, "-k", "3", "--explain")
    now = shell.post("/recommend", {"user_id": USER, "k": 3, "explain": True})
    assert "known user, version 1" in shown.text
    assert all(item["title"] in shown.out and item["item_id"] in shown.out for item in now["items"])
    assert "long-term" in shown.text
    assert "new user" in shell.run("recommend", "a stranger").text
    assert "10000" in shell.run("recommend", USER, "-k", "10000", fails=True).text


def test_batch_recommends_to_every_user(shell: Shell, first_list: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "all" / "recommendations.parquet"
    shell.run("batch", "--out", file, "-k", "7")
    table = pq.read_table(file).to_pandas()
    assert table.groupby(Columns.USER).size().tolist() == [7] * 60
    stored = shell.sql("SELECT user_id, rank, item_id FROM batch_recommendations WHERE model_version = '1'")
    columns = [Columns.USER, Columns.RANK, Columns.ITEM]
    assert sorted(stored) == sorted(table[columns].itertuples(index=False, name=None))
    now = shell.post("/recommend", {"user_id": USER, "k": 7})
    own = table[table[Columns.USER] == USER].sort_values(Columns.RANK)[Columns.ITEM].tolist()
    assert own == [item["item_id"] for item in now["items"]]


def test_a_killed_training_resumes_from_its_checkpoint(shell: Shell, resumed: dict[str, Any]) -> None:
    assert resumed["state"] == "COMPLETED"
    progress = torch.load(resumed["checkpoint"], weights_only=True)["progress"]
    assert progress["losses"][0] == MARKER_LOSS
    assert progress["epoch"] == 3
    assert resumed["checkpoint"].parent == shell.home / "runs" / snapshot(shell).path.name


def test_the_second_version_has_learned_from_the_feedback(
    shell: Shell, resumed: dict[str, Any], first_list: dict[str, Any]
) -> None:
    events = snapshot(shell).events()
    assert (events[Columns.REQUEST] == first_list["request_id"]).sum() == 4
    registered = version(shell, "2")
    assert registered.tags["snapshot_id"] == snapshot(shell).manifest["id"]
    assert registered.aliases == ("challenger",)
    assert {"champion.ndcg@10", "duotempo.ndcg@10"} <= set(registered.metrics)
    (row,) = json.loads(shell.prefect.artifacts(shell.prefect.runs("embed")[0]["id"])["embeddings"]["data"])
    assert row["reused"] > row["computed"]


def test_the_second_version_is_promoted_and_rolled_back(shell: Shell, resumed: dict[str, Any]) -> None:
    address = shell.platform.addresses.serving_url
    shell.run("promote", "2", "--force", "--why", "it has seen the feedback")
    assert served(shell) == "2"
    assert shell.post("/recommend", {"user_id": USER, "k": 5})["model_version"] == "2"
    assert shell.platform.addresses.serving_url == address
    back = shell.run("rollback")
    assert "serving version 1" in back.text
    assert shell.post("/recommend", {"user_id": USER, "k": 5})["model_version"] == "1"
    assert "champion" in version(shell, "1").aliases
    serving = shell.sql("SELECT version FROM promotions WHERE state = 'serving' ORDER BY promotion_id")
    assert serving == [("1",), ("2",), ("1",)]


def test_a_new_item_is_recommended_within_a_minute(shell: Shell, first_list: dict[str, Any]) -> None:
    """Even if the encoder is not the configured one, but the multilingual one chosen for Chinese texts."""
    item = {"item_id": "just in", "title": "降噪蓝牙耳机 新款", "category": ["just in"]}
    eventually(lambda: shell.status()["services"]["encoder"]["healthy"], 60)
    key = shell.run("keys", "create", "--scope", "admin", "--name", "the shop's catalogue").out.strip()
    time.sleep(2 * shell.platform.settings.security.keys_seconds)
    assert shell.post("/items", {"items": [item]}, key=key)["accepted"] == 1
    request = {"user_id": USER, "k": 5, "filters": {"category_in": ["just in"]}}
    eventually(lambda: [item["item_id"] for item in shell.post("/recommend", request)["items"]] == ["just in"], 60)


@pytest.fixture(scope="module")
def forgotten(shell: Shell, first: Answer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON output of `duotempo forget`."""
    file = tmp_path_factory.mktemp("export") / "user.json"
    shell.run("export", USER, "--out", file)
    held = json.loads(file.read_text(encoding="utf-8"))
    assert held["events"] and held["interest_vectors"]
    assert file.stat().st_mode & 0o077 == 0
    return dict(json.loads(shell.run("forget", USER, "--json").out))


def files_containing_user(home: Path) -> list[Path]:
    """The files that contain the user, Parquet files decoded; the database is tested separately."""
    matches = []
    for file in home.rglob("*"):
        if not file.is_file() or "postgres" in file.relative_to(home).parts[0]:
            continue
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content = pq.read_table(file).to_pandas().to_csv().encode()
        if USER.encode() in content or json.dumps(USER).strip('"').encode() in content:
            matches.append(file)
    return matches


def test_no_file_contains_the_forgotten_user(shell: Shell, forgotten: dict[str, Any]) -> None:
    assert forgotten["removed"]["events"] > 0
    assert forgotten["removed"]["user_vectors"] > 0
    erased = forgotten["files"]["erased"]
    assert erased["snapshot_events"] > 0 and erased["interests"] > 0 and erased["cached_vectors"] > 0
    assert files_containing_user(shell.home) == []
    for manifest in (shell.home / "snapshots").glob("*/manifest.json"):
        Snapshot.open(manifest.parent)


def test_the_report_names_the_models_trained_on_the_user(shell: Shell, forgotten: dict[str, Any]) -> None:
    trained = {version.version for version in registry.versions(shell.mlflow_url)}
    assert {model["version"] for model in forgotten["files"]["models"]} == trained


def test_no_table_contains_the_forgotten_user_and_late_events_are_rejected(
    shell: Shell, folder: Path, forgotten: dict[str, Any]
) -> None:
    assert "forgotten_user" in shell.run("ingest", folder, "--source", "late").text
    for table in ("users", "events", "user_vectors", "quarantine", "erasures"):
        assert shell.sql(f"SELECT count(*) FROM {table} AS t WHERE position(%s IN to_jsonb(t)::text) > 0", USER) == [
            (0,)
        ]


def test_the_erase_flow_finishes_a_pending_erasure(shell: Shell, forgotten: dict[str, Any]) -> None:
    """The flow processes a pending row, as `/forget` leaves it."""
    shell.sql("INSERT INTO erasures (user_id, user_hash) SELECT %s, user_hash FROM tombstones LIMIT 1", "left behind")
    with shell.inside():
        start_deployment("erase/waiting", {})
    eventually(lambda: shell.sql("SELECT 1 FROM erasures WHERE user_id IS NULL AND done_at IS NOT NULL OFFSET 1"), 120)
    assert shell.sql("SELECT user_id FROM erasures WHERE user_id IS NOT NULL") == []


def test_forgetting_an_unknown_user_fails(shell: Shell, forgotten: dict[str, Any]) -> None:
    answer = shell.run("forget", " nobody ", "--json", fails=True)
    assert "nobody is known as 'nobody'" in answer.err
    assert (forgotten["found"], json.loads(answer.out)["found"]) == (True, False)
