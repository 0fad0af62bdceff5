"""Figures of variants, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from components.monitoring.online import Estimate, Online, compare
from components.ranking.rerank import Exploration, rerank
from components.settings import EventSettings
from tests.support.observed import exposures, feedback

SURE = [("a", 1.0), ("b", 1.0), ("c", 1.0)]


def compared(shown: pd.DataFrame, told: pd.DataFrame, k: int = 10, events: EventSettings | None = None) -> Online:
    return compare(shown, told, events or EventSettings(), k=k, resamples=200)


def means(online: Online, variant: str = "champion") -> dict[str, float | None]:
    (found,) = [one for one in online.variants if one.name == variant]
    return {name: figure.mean for name, figure in found.figures.items()}


def test_clicks_and_ranks_of_a_hand_made_world() -> None:
    shown = exposures([("r1", "u", SURE), ("r2", "u", SURE), ("r3", "v", SURE), ("r4", "w", [])])
    told = feedback(
        ("r1", "b", "click", None), ("r1", "b", "purchase", None), ("r1", "c", "like", None), ("r2", "a", "hide", None),
        ("r3", "a", "click", None),
    )  # fmt: skip
    online = compared(shown, told)
    (champion,) = online.variants
    assert (champion.model_version, champion.impressions, champion.users) == ("1", 4, 3)
    figures = means(online)
    assert figures["ctr@10"] == pytest.approx(2 / 4)
    assert figures["positive_rate"] == pytest.approx(4 / 9)
    assert figures["mrr@10"] == pytest.approx((1 / 2 + 1) / 4)
    assert figures["mean_rank"] == pytest.approx((2 + 3 + 1) / 3)
    assert figures["liked"] == pytest.approx(1 / 2)
    for name in ("ctr@10", "positive_rate", "mrr@10"):
        mean, low, high = champion.figures[name]
        assert mean is not None and low is not None and high is not None
        assert low <= mean <= high and low < high


def test_only_the_first_k_items_count_for_clicks() -> None:
    online = compared(exposures([("r1", "u", SURE)]), feedback(("r1", "b", "click", None)), k=1)
    figures = means(online)
    assert (figures["ctr@1"], figures["mrr@1"], figures["mean_rank"]) == (0.0, 0.0, 2.0)


def test_satisfaction_and_dwell_are_means_of_what_was_sent() -> None:
    shown = exposures([("r1", "u", SURE), ("r2", "v", SURE)])
    told = feedback(
        ("r1", "a", "rating", 5.0), ("r1", "b", "review", 2.0), ("r2", "a", "rating", None), ("r1", "a", "view", 30.0),
        ("r2", "b", "view", 10.0), ("r2", "c", "view", None), ("r2", "c", "dislike", None),
    )  # fmt: skip
    figures = means(compared(shown, told))
    assert (figures["rating"], figures["dwell_seconds"], figures["liked"]) == (3.5, 20.0, 0.0)


def test_what_was_not_sent_is_none() -> None:
    figures = means(compared(exposures([("r1", "u", SURE), ("r2", "v", SURE)]), feedback()))
    unmeasured = {"mean_rank", "rating", "liked", "dwell_seconds", "ips", "snips", "ess"}
    assert {name for name, mean in figures.items() if mean is None} == unmeasured
    assert figures["ctr@10"] == 0.0


def test_ips_and_snips_by_hand() -> None:
    """The first answer: w = 1 / 0.5, then 2 / 0.8 with a click, then 0 below what was left to chance. The second: 0
    from its first place on. IPS = 2.5 / 5, SNIPS = 2.5 / 4.5, ESS = 4.5^2 / (2^2 + 2.5^2)."""
    shown = exposures(
        [
            ("r1", "u", [("a", 0.5, True), ("b", 0.8, True), ("x", 0.1, False)]),
            ("r2", "v", [("y", 0.5, False), ("a", 1.0, True)]),
        ]
    )
    told = feedback(*[(request, item, "click", None) for request, item in (("r1", "b"), ("r1", "x"), ("r2", "a"))])
    figures = means(compared(shown, told))
    assert figures["ips"] == pytest.approx(2.5 / 5)
    assert figures["snips"] == pytest.approx(2.5 / 4.5)
    assert figures["ess"] == pytest.approx(4.5**2 / (4 + 6.25))
    assert figures["positive_rate"] == pytest.approx(3 / 5)


TASTE = np.array([0.5, 0.3, 0.05, 0.05, 0.05, 0.05])
BORED = 0.2
PLACES, USERS = 3, 200


def explored(share: float, answers: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lists of three by the service's own rule, and what people do: an item is taken as likely as TASTE says, a fifth
    as likely right below one whose number is even as its own is."""
    random = np.random.default_rng(seed)
    shown, told = [], []
    for number in range(answers):
        exploration = Exploration(share, f"{random.integers(2**63):032x}")
        chosen = rerank(TASTE, np.zeros((6, 1)), [[]] * 6, PLACES, pick=exploration.pick)
        shown.append(
            (
                f"r{number}",
                f"u{number % USERS}",
                [(f"i{item}", *place) for item, place in zip(chosen, exploration.places, strict=True)],
            )
        )
        for above, item in zip([None, *chosen], chosen, strict=False):
            bored = above is not None and (above + item) % 2 == 0
            if random.random() < TASTE[item] * (BORED if bored else 1.0):
                told.append((f"r{number}", f"i{item}", "click", None))
    return exposures(shown), feedback(*told)


TRUTH = float(TASTE[:PLACES].sum() / PLACES)
"""Without exploration items 0, 1 and 2 are shown, and nobody is bored."""


def test_the_rate_without_exploration_is_found_in_answers_with_it() -> None:
    online = compared(*explored(0.5, 20_000, seed=0))
    (champion,) = online.variants
    rate = champion.figures["positive_rate"].mean
    assert rate is not None and rate < TRUTH - 0.05
    for name in ("ips", "snips"):
        mean, low, high = champion.figures[name]
        assert mean == pytest.approx(TRUTH, abs=0.02)
        assert low is not None and high is not None and low <= TRUTH <= high
    assert champion.figures["snips"] != champion.figures["ips"]


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = {"ips": 0, "snips": 0}
    for seed in range(60):
        (champion,) = compared(*explored(0.3, 600, seed)).variants
        for name in held:
            _, low, high = champion.figures[name]
            assert low is not None and high is not None
            held[name] += low <= TRUTH <= high
    assert min(held.values()) >= 51, "of 60 intervals of 95 %"


@pytest.mark.parametrize("bad", [0.0, 1.5, None])
def test_an_answer_without_a_propensity_does_not_count_off_policy(bad: float | None) -> None:
    whole = ("r1", "u", [("a", 0.5, True)])
    shown = exposures([whole, ("r2", "u", [("a", 0.5, True), ("b", bad, True)])])  # type: ignore[list-item]
    clicked = feedback(("r1", "a", "click", None), ("r2", "a", "click", None), ("r2", "b", "click", None))
    figures = means(compared(shown, clicked))
    assert (figures["ips"], figures["snips"], figures["ess"]) == (2.0, 1.0, 1.0)


def test_the_settings_say_what_is_positive() -> None:
    events = EventSettings()
    silent = events.model_copy(update={"weights": {**events.weights, "view": 0.0}, "dislike_below": 3.0})
    shown = exposures([("r1", "u", SURE)])
    told = feedback(("r1", "a", "view", None), ("r1", "b", "rating", 2.0))
    assert means(compared(shown, told))["positive_rate"] == pytest.approx(2 / 3)
    assert means(compared(shown, told, events=silent))["positive_rate"] == 0.0


def test_feedback_to_unknown_answers_and_items_is_counted_apart() -> None:
    told = feedback(("r9", "a", "click", None), ("r1", "z", "click", None), ("r1", "a", "click", None))
    online = compared(exposures([("r1", "u", SURE)]), told)
    assert online.unmatched == 2
    assert means(online)["positive_rate"] == pytest.approx(1 / 3)


def test_variants_are_compared_with_the_champion() -> None:
    worse = exposures([(f"r{n}", f"u{n}", SURE) for n in range(200)])
    better = exposures([(f"q{n}", f"v{n}", SURE) for n in range(200)], variant="canary", version="2")
    told = [(f"r{n}", "a", "click", None) for n in range(20)] + [(f"q{n}", "a", "click", None) for n in range(120)]
    champion, canary = compared(pd.concat([better, worse]), feedback(*told)).variants
    assert (champion.name, champion.against_champion, canary.model_version) == ("champion", {}, "2")
    mean, low, high = canary.against_champion["ctr@10"]
    assert mean == pytest.approx(0.5) and low is not None and high is not None
    spread = np.sqrt(0.1 * 0.9 / 200 + 0.6 * 0.4 / 200)
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.2)
    assert canary.against_champion["rating"] == Estimate()


def test_without_a_champion_nothing_is_compared() -> None:
    online = compared(exposures([("r1", "u", SURE)], variant="canary"), feedback())
    assert [one.against_champion for one in online.variants] == [{}]


def test_one_person_alone_has_no_interval() -> None:
    (champion,) = compared(exposures([("r1", "u", SURE)]), feedback(("r1", "a", "click", None))).variants
    assert champion.figures["ctr@10"] == Estimate(1.0, None, None)


def test_an_empty_window_has_no_variants() -> None:
    assert compared(exposures([]), feedback(("r1", "a", "click", None))) == Online([], 1)


def test_versions_of_a_variant_are_told_in_their_order() -> None:
    shown = pd.concat([exposures([("r1", "u", SURE)], version="10"), exposures([("r2", "u", SURE)], version="9")])
    assert compared(shown, feedback()).variants[0].model_version == "10, 9"
