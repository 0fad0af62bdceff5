import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from components.evaluation.exposure import exposure, exposure_by_users, item_groups
from components.evaluation.gate import apply_gate
from components.evaluation.metrics import user_share
from components.evaluation.plots import write_plots
from components.evaluation.report import report
from components.evaluation.results import ModelResult, summarise, summarise_slices
from components.settings import EvaluationSettings

SETTINGS = EvaluationSettings(bootstrap=100, k=3)
USERS = np.arange(60) // 2
TARGETS = np.arange(60) % 10
INTERACTIONS = np.random.default_rng(0).random((30, 10)) > 0.4


@pytest.fixture
def results() -> list[ModelResult]:
    perfect = (TARGETS[:, None] + np.arange(3)) % 10
    constant = np.tile([0, 1, 2], (60, 1))
    return [
        ModelResult.of("duotempo", perfect, TARGETS, fit_s=1.5, rank_s=0.25),
        ModelResult.of("popularity", constant, TARGETS, fit_s=0.0, rank_s=0.1),
    ]


@pytest.fixture
def share() -> NDArray[np.float64]:
    return user_share(sparse.csr_matrix(INTERACTIONS.astype(np.float32)))


def test_summaries_hold_every_figure_with_bounds_and_are_json(
    results: list[ModelResult], share: NDArray[np.float64]
) -> None:
    texts = np.eye(10)
    summaries = summarise(results, USERS, share, texts, SETTINGS, seed=0)
    best = json.loads(json.dumps(summaries))["duotempo"]
    assert best["hr@3"] == best["ndcg@3"] == best["mrr@3"] == best["diversity@3"] == 1
    assert best["coverage@3"] == 10
    assert best["novelty@3"] == pytest.approx(-np.log2(share).mean())
    assert (best["fit_s"], best["rank_s"]) == (1.5, 0.25)
    for summary in summaries.values():
        for metric in ("hr", "ndcg", "mrr", "coverage", "novelty", "diversity"):
            low, high = summary[f"{metric}@3_interval"]
            assert low <= summary[f"{metric}@3"] <= high
    assert summaries["popularity"]["hr@3"] == pytest.approx(0.3)


def test_diversity_without_texts_is_not_measured(results: list[ModelResult], share: NDArray[np.float64]) -> None:
    summary = summarise(results, USERS, share, None, SETTINGS, seed=0)["duotempo"]
    assert summary["diversity@3"] is None
    assert summary["diversity@3_interval"] is None


def test_slices_hold_their_own_targets_and_empty_ones_are_left_out(results: list[ModelResult]) -> None:
    masks = {"early": TARGETS < 3, "none": np.zeros(60, dtype=bool)}
    table = summarise_slices(results, masks, USERS, SETTINGS, seed=0)
    assert list(table) == ["early"]
    assert table["early"]["targets"] == 18
    assert table["early"]["models"]["popularity"]["hr@3"] == 1


def test_the_report_shows_the_gate_the_metrics_and_the_plots(
    results: list[ModelResult], share: NDArray[np.float64], tmp_path: Path
) -> None:
    summaries = summarise(results, USERS, share, None, SETTINGS, seed=0)
    slices = summarise_slices(results, {"early": TARGETS < 3}, USERS, SETTINGS, seed=0)
    verdict = apply_gate(
        ndcg=results[0].ndcg, coverage=10, users=USERS, popularity=results[1].ndcg, recent_popularity=results[1].ndcg,
        champion=None, critical_failures=["items: title | empty"], resamples=100, seed=0,
    )  # fmt: skip
    folder = tmp_path / "plots"
    groups = item_groups(INTERACTIONS.sum(axis=0), [["a"]] * 6 + [["b"]] * 4)
    item_exposure, user_exposure = (
        exposure(results, INTERACTIONS.sum(axis=0), groups),
        exposure_by_users(results, {"all": USERS >= 0}, groups),
    )
    plots = write_plots(
        folder, results, summaries, slices, item_exposure, INTERACTIONS.sum(axis=0), np.linspace(0, 1, 60), 3
    )
    page = report(
        "Version 3",
        {"snapshot": "abc", "targets": 60},
        summaries,
        slices,
        item_exposure,
        user_exposure,
        verdict,
        plots,
        3,
    )
    assert [plot.name for plot in plots] == [
        "metrics.png",
        "slices.png",
        "exposure.png",
        "long_tail.png",
        "long_share.png",
    ]
    for plot in plots:
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert f"({plot.name})" in page
    assert "## Gate: failed" in page
    assert "items: title \\| empty" in page
    assert "| duotempo | 1.0000 [1.0000, 1.0000] |" in page
    assert "not measured" in page
    assert "| snapshot | abc |" in page
    shares = [f"{share:.1%}" for share in user_exposure["all"]["head items"].values()]
    assert f"| all | head items | {' | '.join(shares)} |" in page
    assert f"| category a | 60.0% | {INTERACTIONS[:, :6].sum() / INTERACTIONS.sum():.1%} | 60.0% | 100.0% |" in page


def test_a_report_without_gate_slices_and_long_share(
    results: list[ModelResult], share: NDArray[np.float64], tmp_path: Path
) -> None:
    summaries = summarise(results, USERS, share, None, SETTINGS, seed=0)
    plots = write_plots(tmp_path, results, summaries, {}, {}, INTERACTIONS.sum(axis=0), None, 3)
    page = report("Peers", {}, summaries, {}, {}, {}, None, plots, 3)
    assert not Path(tmp_path / "long_share.png").exists()
    assert "Gate" not in page
    assert "No target falls into a slice" in page
