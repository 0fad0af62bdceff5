"""When a canary counts as worse."""

import math

import pandas as pd
import pytest

from components.monitoring.canary import Answered, errors_against, feedback_against, latency_against, quantile
from components.monitoring.online import compare
from components.settings import DeploySettings, EventSettings
from tests.support.observed import exposures, feedback

SETTINGS = DeploySettings(min_requests=20)


def answered(good: int = 100, failed: int = 0, slow: int = 0) -> Answered:
    """`slow` answers within 1 s, the others within 10 ms."""
    return Answered(good, failed, {0.01: good - slow, 0.1: good - slow, 1.0: good, math.inf: good})


def test_more_failed_answers_than_the_champions_are_told() -> None:
    assert errors_against(answered(), answered(), SETTINGS) is None
    assert errors_against(answered(failed=5), answered(failed=5), SETTINGS) is None, "no worse than the champion"
    told = errors_against(answered(95, 5), answered(), SETTINGS)
    assert told is not None and "5 of its 100 answers failed, the champion's 0 of 100" in told
    assert errors_against(answered(1, 1), answered(0), SETTINGS), "few answers are enough for errors"
    assert errors_against(answered(1, 1), answered(0), SETTINGS, enough=3) is None


def test_slow_answers_are_told_when_there_are_enough() -> None:
    assert latency_against(answered(slow=2), answered(), SETTINGS) is None
    told = latency_against(answered(slow=20), answered(), SETTINGS)
    assert told is not None and "deploy.max_latency_ratio" in told
    assert latency_against(answered(19, slow=19), answered(), SETTINGS) is None
    assert latency_against(Answered(), Answered(), SETTINGS) is None


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.005), (0.5, 0.01), (0.75, 0.055), (1.0, 0.1)])
def test_a_quantile_lies_inside_its_bin(share: float, expected: float) -> None:
    assert quantile({0.01: 50.0, 0.1: 100.0, math.inf: 100.0}, share) == pytest.approx(expected)


def test_what_lies_beyond_the_last_bound_counts_as_that() -> None:
    assert quantile({0.01: 50.0, 0.1: 90.0, math.inf: 100.0}, 0.95) == 0.1


def told(likes: dict[str, float], answers: int = 40) -> str | None:
    """The word on a canary whose users like, and else hide, the one item they were shown, by share of the users."""
    shown, events = [], []
    for variant, share in likes.items():
        requests = [f"{variant}{number}" for number in range(answers)]
        asked = [(request, f"u{request}", [("i", 1.0)]) for request in requests]
        shown.append(exposures(asked, variant, variant))
        liked = share * answers
        events += [(request, "i", "like" if n < liked else "hide", None) for n, request in enumerate(requests)]
    compared = compare(pd.concat(shown), feedback(*events), EventSettings(), k=10, resamples=200)
    return feedback_against(compared, SETTINGS)


def test_what_people_surely_like_less_is_told() -> None:
    word = told({"champion": 0.9, "canary": 0.2})
    assert word is not None and "its positive_rate is 0.2" in word


def test_what_may_be_chance_is_not_told() -> None:
    assert told({"champion": 0.5, "canary": 0.45}) is None
    assert told({"champion": 0.5, "canary": 0.9}) is None
    assert told({"champion": 1.0, "canary": 0.0}, answers=10) is None, "too few answers"
    assert told({"champion": 1.0}) is None, "nobody was answered by the canary"
