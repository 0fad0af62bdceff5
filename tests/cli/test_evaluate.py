"""`duotempo evaluate` on small and unusual dataset folders: metrics, or one sentence that says what is missing."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.command_result import Run
from tests.support.datasets import LAST, catalogue, toy_events, write_dataset

QUICK = {
    "DUOTEMPO_PRESET": "demo", "DUOTEMPO_FUSION__EPOCHS": "2", "DUOTEMPO_FUSION__WIDTH": "16",
    "DUOTEMPO_EVALUATION__BOOTSTRAP": "20",
}  # fmt: skip
FIGURES = {"hr@10", "ndcg@10", "coverage@10", "novelty@10", "diversity@10", "fit_s", "rank_s"}


def rows(*events: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"]).assign(event="like")


def check(figures: dict[str, Any], split: str, models: set[str]) -> None:
    assert set(figures) == {"dataset", "split", "test_users", "models", "slices", "exposure", "exposure_by_users"}
    assert (figures["dataset"], figures["split"]) == ("shop", split)
    assert figures["test_users"] > 0
    assert set(figures["models"]) == models
    for values in figures["models"].values():
        assert set(values) >= FIGURES
        assert 0 <= values["ndcg@10"] <= values["hr@10"] <= 1
        assert 0 < values["coverage@10"] <= len(catalogue())
    for group in figures["exposure"].values():
        assert 0 < group["items"] <= 1
        assert set(group["models"]) == models
    for part in figures["slices"].values():
        assert 0 < part["targets"] <= figures["test_users"]
        assert set(part["models"]) == models
        assert all(set(values) >= {"hr@10", "ndcg@10"} for values in part["models"].values())


@pytest.mark.parametrize("split", ["temporal", "rolling"])
def test_metrics_are_written_to_file(duotempo: Run, tmp_path: Path, split: str) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    answer = duotempo("evaluate", folder, "--split", split, "--out", "figures.json", **QUICK)
    assert answer.code == 0, answer.err
    assert "duotempo" in answer.out
    check(json.loads((tmp_path / "figures.json").read_text()), split, {"duotempo", "pop", "pop7"})


def test_peers_are_evaluated_too(duotempo: Run, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    answer = duotempo("evaluate", folder, "--split", "loo", "--peers", "--out", "figures.json", **QUICK)
    assert answer.code == 0, answer.err
    figures = json.loads((tmp_path / "figures.json").read_text())
    check(figures, "loo", {"duotempo", "pop", "pop7", "itemknn", "ease", "als"})
    assert figures["test_users"] == toy_events()["user_id"].nunique()


def test_same_seed_gives_same_metrics(duotempo: Run, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    figures = []
    for number in range(2):
        answer = duotempo("evaluate", folder, "--seed", "7", "--out", f"{number}.json", **QUICK)
        assert answer.code == 0, answer.err
        models = json.loads((tmp_path / f"{number}.json").read_text())["models"]
        figures.append({name: value for name, value in models["duotempo"].items() if not name.endswith("_s")})
    assert figures[0] == figures[1]


CUSTOM_FUSION = """
from components.fusion.fusions import Fusion

class Halves(Fusion):
    def forward(self, long, short, context):
        return long / 2, short / 2
"""


def test_named_models_are_evaluated(duotempo: Run, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    (tmp_path / "halves_of_a_test.py").write_text(CUSTOM_FUSION)
    names = "duotempo,gated, short,halves_of_a_test:Halves,ease"
    answer = duotempo("evaluate", folder, "--model", names, "--out", "figures.json", **QUICK)
    assert answer.code == 0, answer.err
    figures = json.loads((tmp_path / "figures.json").read_text())
    check(figures, "loo", {"duotempo", "gated", "short", "halves_of_a_test:Halves", "ease"})
    models = figures["models"]
    same = {name for name in FIGURES if not name.endswith("_s")}
    assert all(models["gated"][name] == models["duotempo"][name] for name in same)  # gated is the default
    assert any(models["short"][name] != models["duotempo"][name] for name in same)


def test_cold_items_are_reported(duotempo: Run, tmp_path: Path) -> None:
    events = pd.concat([toy_events(), rows(("u0", "stranger", LAST + 1), ("u1", "novelty", LAST + 1))])
    folder = write_dataset(tmp_path / "shop", events)
    answer = duotempo("evaluate", folder, "--model", "duotempo,pop", "--out", "figures.json", **QUICK)
    assert answer.code == 0, answer.err
    cold = json.loads((tmp_path / "figures.json").read_text())["slices"]["cold items"]
    assert cold["targets"] == 2
    assert cold["models"]["pop"]["ndcg@10"] == 0  # without events popularity cannot rank them
    assert "cold items, 2 targets: ndcg@10 duotempo" in answer.text


@pytest.mark.parametrize("names", ["duotempo,sasrec", "pop,", "no_such_module:Mine"])
def test_unknown_model_error_lists_known_models(duotempo: Run, tmp_path: Path, names: str) -> None:
    answer = duotempo("evaluate", write_dataset(tmp_path / "shop", toy_events()), "--model", names, **QUICK)
    assert answer.code == 1
    assert f"{names.split(',')[-1]!r} is none of duotempo, weighted, concat" in answer.text
    assert "pop7, itemknn, ease, als" in answer.text


def test_rolling_rejects_peer_model_by_name(duotempo: Run, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    answer = duotempo("evaluate", folder, "--split", "rolling", "--model", "pop,ease", **QUICK)
    assert answer.code == 1
    assert "ease: the peers are ranked on loo and temporal" in answer.text


UNUSUAL = {
    "one user": toy_events(users=1),
    "all ties": toy_events().assign(timestamp=LAST),
    "long ids": toy_events().assign(user_id=lambda frame: frame["user_id"].str.ljust(200, "x")),
    "an item without metadata": pd.concat([toy_events(), rows(("u1", "stranger", LAST + 1))]),
}


@pytest.mark.parametrize("events", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_events_are_evaluated(duotempo: Run, tmp_path: Path, events: pd.DataFrame) -> None:
    answer = duotempo("evaluate", write_dataset(tmp_path / "shop", events), "--out", "figures.json", **QUICK)
    assert answer.code == 0, answer.err
    assert set(json.loads((tmp_path / "figures.json").read_text())["models"]) == {"duotempo", "pop", "pop7"}


@pytest.mark.parametrize("split", ["loo", "rolling"])
def test_items_without_text_are_ranked_by_events(duotempo: Run, tmp_path: Path, split: str) -> None:
    bare = catalogue().assign(title="", category="")
    folder = write_dataset(tmp_path / "shop", toy_events(), bare)
    answer = duotempo("evaluate", folder, "--split", split, "--out", "figures.json", **QUICK)
    assert answer.code == 0, answer.err
    ours = json.loads((tmp_path / "figures.json").read_text())["models"]["duotempo"]
    assert ours["diversity@10"] is None
    assert ours["hr@10"] >= 0


def test_undeclared_text_columns_are_ignored(duotempo: Run, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events(), text=[])
    answer = duotempo("evaluate", folder, "--out", "figures.json", **QUICK)
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "figures.json").read_text())["models"]["duotempo"]["diversity@10"] is None


NEEDS = {
    ("one event", "loo"): (rows(("u", "i1", LAST)), "at least 3 events"),
    ("one event", "temporal"): (rows(("u", "i1", LAST)), "both sides of the 0.9 quantile"),
    ("one event", "rolling"): (rows(("u", "i1", LAST)), "more than one time"),
    ("all ties", "rolling"): (toy_events().assign(timestamp=LAST), "more than one time"),
    ("one item", "temporal"): (rows(*(("u", "i1", LAST + n) for n in range(9))), "new to the user"),
    ("one item", "rolling"): (rows(*(("u", "i1", LAST + n) for n in range(9))), "new to its user"),
    ("only dislikes", "loo"): (toy_events().assign(event="dislike"), "positive"),
    ("unknown event", "loo"): (toy_events().assign(event="stare"), "stare"),
}


@pytest.mark.parametrize(("events", "needed"), NEEDS.values(), ids=[" ".join(key) for key in NEEDS])
def test_insufficient_data_error_says_what_is_needed(
    duotempo: Run, tmp_path: Path, events: pd.DataFrame, needed: str, request: pytest.FixtureRequest
) -> None:
    split = request.node.callspec.id.split()[-1]
    answer = duotempo("evaluate", write_dataset(tmp_path / "shop", events), "--split", split, **QUICK)
    assert answer.code == 1
    assert needed in answer.text


def test_single_item_dataset_is_evaluated(duotempo: Run, tmp_path: Path) -> None:
    events = rows(*((f"u{user}", "i1", LAST + user + 10 * step) for user in range(5) for step in range(3)))
    folder = write_dataset(tmp_path / "shop", events, catalogue().iloc[1:2])
    answer = duotempo("evaluate", folder, **QUICK)
    assert answer.code == 0, answer.err


def test_unknown_split_error_lists_known_splits(duotempo: Run, tmp_path: Path) -> None:
    answer = duotempo("evaluate", write_dataset(tmp_path / "shop", toy_events()), "--split", "random")
    assert answer.code == 1
    assert "'random' is none of loo, temporal, rolling" in answer.text


def test_rolling_rejects_peers_option_before_training(duotempo: Run, tmp_path: Path) -> None:
    answer = duotempo(
        "evaluate", write_dataset(tmp_path / "shop", toy_events()), "--split", "rolling", "--peers", **QUICK
    )
    assert answer.code == 1
    assert "leave out --peers for rolling" in answer.text


def test_unwritable_output_fails_before_training(duotempo: Run, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    answer = duotempo("evaluate", folder, "--out", "no/such/folder/figures.json", **QUICK)
    assert answer.code != 0
    assert "no/such/folder" in answer.text


def test_missing_column_is_named(duotempo: Run, tmp_path: Path) -> None:
    answer = duotempo("evaluate", write_dataset(tmp_path / "shop", toy_events().drop(columns="timestamp")), **QUICK)
    assert answer.code == 1
    assert "no column holds times" in answer.text and 'timestamp = "COLUMN"' in answer.text
