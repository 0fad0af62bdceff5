"""When a canary is worse than the champion."""

import math

import pandas as pd
import pytest

from components.monitoring.canary import AnswerStats, errors_against, feedback_against, latency_against, quantile
from components.monitoring.online import compare
from components.settings import DeploySettings, EventSettings
from tests.support.impressions import exposures, feedback

SETTINGS = DeploySettings(min_requests=20)


def stats(good: int = 100, failed: int = 0, slow: int = 0) -> AnswerStats:
    """`slow` answers within 1 s, the others within 10 ms."""
    return AnswerStats(good, failed, {0.01: good - slow, 0.1: good - slow, 1.0: good, math.inf: good})


def test_a_higher_error_rate_than_the_champions_is_reported() -> None:
    assert errors_against(stats(), stats(), SETTINGS) is None
    assert errors_against(stats(failed=5), stats(failed=5), SETTINGS) is None, "no worse than the champion"
    reason = errors_against(stats(95, 5), stats(), SETTINGS)
    assert reason is not None and "5 of its 100 answers failed, the champion's 0 of 100" in reason
    assert errors_against(stats(1, 1), stats(0), SETTINGS), "few answers are enough for errors"
    assert errors_against(stats(1, 1), stats(0), SETTINGS, enough=3) is None


def test_slow_answers_are_reported_if_there_are_enough() -> None:
    assert latency_against(stats(slow=2), stats(), SETTINGS) is None
    reason = latency_against(stats(slow=20), stats(), SETTINGS)
    assert reason is not None and "deploy.max_latency_ratio" in reason
    assert latency_against(stats(19, slow=19), stats(), SETTINGS) is None
    assert latency_against(AnswerStats(), AnswerStats(), SETTINGS) is None


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.005), (0.5, 0.01), (0.75, 0.055), (1.0, 0.1)])
def test_quantiles_are_interpolated_within_bins(share: float, expected: float) -> None:
    assert quantile({0.01: 50.0, 0.1: 100.0, math.inf: 100.0}, share) == pytest.approx(expected)


def test_quantiles_beyond_the_last_bound_are_that_bound() -> None:
    assert quantile({0.01: 50.0, 0.1: 90.0, math.inf: 100.0}, 0.95) == 0.1


def feedback_verdict(likes: dict[str, float], answers: int = 40) -> str | None:
    """The verdict on a canary, by the share of each variant's users who like their only item; the others hide it."""
    served, events = [], []
    for variant, share in likes.items():
        requests = [f"{variant}{number}" for number in range(answers)]
        lists = [(request, f"u{request}", [("i", 1.0)]) for request in requests]
        served.append(exposures(lists, variant, variant))
        liked = share * answers
        events += [(request, "i", "like" if n < liked else "hide", None) for n, request in enumerate(requests)]
    compared = compare(pd.concat(served), feedback(*events), EventSettings(), k=10, resamples=200)
    return feedback_against(compared, SETTINGS)


def test_significantly_worse_feedback_is_reported() -> None:
    reason = feedback_verdict({"champion": 0.9, "canary": 0.2})
    assert reason is not None and "its positive_rate is 0.2" in reason


def test_insignificant_differences_are_not_reported() -> None:
    assert feedback_verdict({"champion": 0.5, "canary": 0.45}) is None
    assert feedback_verdict({"champion": 0.5, "canary": 0.9}) is None
    assert feedback_verdict({"champion": 1.0, "canary": 0.0}, answers=10) is None, "too few answers"
    assert feedback_verdict({"champion": 1.0}) is None, "the canary served no user"
