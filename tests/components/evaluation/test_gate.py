from typing import Any

import numpy as np
import pytest

from components.evaluation.gate import Champion, Verdict, apply_gate

USERS = np.arange(400) // 2
BASE = np.random.default_rng(0).random(400) * 0.2


def verdict(**changes: Any) -> Verdict:
    given: dict[str, Any] = {
        "ndcg": BASE + 0.1, "coverage": 80, "users": USERS, "popularity": BASE, "recent_popularity": BASE + 0.02,
        "champion": None, "critical_failures": [], "resamples": 200, "seed": 0,
    }  # fmt: skip
    return apply_gate(**{**given, **changes})


def failed(result: Verdict) -> list[str]:
    return [clause.name for clause in result.clauses if not clause.passed]


def test_a_better_model_passes_and_a_missing_champion_is_reported() -> None:
    result = verdict()
    assert result.passed
    assert [clause.name for clause in result.clauses] == [
        "popularity", "recent popularity", "champion", "coverage", "validation",
    ]  # fmt: skip
    assert "no champion" in result.clauses[2].detail
    assert "+0.1000" in result.reasons[0]


@pytest.mark.parametrize("baseline", ["popularity", "recent_popularity"])
def test_no_clear_gain_over_a_baseline_fails(baseline: str) -> None:
    noise = np.random.default_rng(1).normal(size=400)
    result = verdict(**{baseline: BASE + 0.1 + noise - noise.mean()})
    assert not result.passed
    assert failed(result) == [baseline.replace("_", " ")]
    assert len(result.reasons) == 1


def test_a_small_but_significant_loss_to_the_champion_fails() -> None:
    assert failed(verdict(champion=Champion(BASE + 0.1 + 0.002, 80))) == ["champion"]


def test_a_loss_within_the_noise_passes_until_it_is_five_percent() -> None:
    noise = np.random.default_rng(1).normal(size=400)
    noise -= noise.mean()
    assert verdict(champion=Champion(BASE + 0.1 + 0.002 + noise, 80)).passed
    lost = verdict(champion=Champion(BASE + 0.1 + 0.03 + noise, 80))
    assert failed(lost) == ["champion"]


def test_half_of_the_champions_coverage_is_enough() -> None:
    assert verdict(champion=Champion(BASE, 160)).passed
    assert failed(verdict(champion=Champion(BASE, 161))) == ["coverage"]


def test_a_critical_expectation_fails_and_is_named() -> None:
    result = verdict(critical_failures=["events: occurred_at before the cut, 3 rows"])
    assert failed(result) == ["validation"]
    assert "3 rows" in result.reasons[0]
