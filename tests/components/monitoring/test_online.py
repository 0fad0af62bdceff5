"""Online metrics of variants, computed by hand."""

import numpy as np
import pandas as pd
import pytest

from components.monitoring.online import Estimate, VariantComparison, compare
from components.ranking.rerank import Exploration, rerank
from components.settings import EventSettings
from tests.support.impressions import exposures, feedback

CERTAIN = [("a", 1.0), ("b", 1.0), ("c", 1.0)]


def compared(
    shown: pd.DataFrame, sent: pd.DataFrame, k: int = 10, events: EventSettings | None = None
) -> VariantComparison:
    return compare(shown, sent, events or EventSettings(), k=k, resamples=200)


def means(online: VariantComparison, name: str = "champion") -> dict[str, float | None]:
    (variant,) = [variant for variant in online.variants if variant.name == name]
    return {metric: estimate.mean for metric, estimate in variant.figures.items()}


def test_clicks_and_ranks_by_hand() -> None:
    shown = exposures([("r1", "u", CERTAIN), ("r2", "u", CERTAIN), ("r3", "v", CERTAIN), ("r4", "w", [])])
    sent = feedback(
        ("r1", "b", "click", None), ("r1", "b", "purchase", None), ("r1", "c", "like", None), ("r2", "a", "hide", None),
        ("r3", "a", "click", None),
    )  # fmt: skip
    online = compared(shown, sent)
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
    online = compared(exposures([("r1", "u", CERTAIN)]), feedback(("r1", "b", "click", None)), k=1)
    figures = means(online)
    assert (figures["ctr@1"], figures["mrr@1"], figures["mean_rank"]) == (0.0, 0.0, 2.0)


def test_ratings_and_dwell_times_are_averaged_where_present() -> None:
    shown = exposures([("r1", "u", CERTAIN), ("r2", "v", CERTAIN)])
    sent = feedback(
        ("r1", "a", "rating", 5.0), ("r1", "b", "review", 2.0), ("r2", "a", "rating", None), ("r1", "a", "view", 30.0),
        ("r2", "b", "view", 10.0), ("r2", "c", "view", None), ("r2", "c", "dislike", None),
    )  # fmt: skip
    figures = means(compared(shown, sent))
    assert (figures["rating"], figures["dwell_seconds"], figures["liked"]) == (3.5, 20.0, 0.0)


def test_metrics_without_events_are_none() -> None:
    figures = means(compared(exposures([("r1", "u", CERTAIN), ("r2", "v", CERTAIN)]), feedback()))
    unmeasured = {"mean_rank", "rating", "liked", "dwell_seconds", "ips", "snips", "ess"}
    assert {name for name, mean in figures.items() if mean is None} == unmeasured
    assert figures["ctr@10"] == 0.0


def test_ips_and_snips_by_hand() -> None:
    """First list: w = 1 / 0.5, then 2 / 0.8 with a click, then 0 from the explored item on. Second list: 0 from its
    first rank on. IPS = 2.5 / 5, SNIPS = 2.5 / 4.5, ESS = 4.5^2 / (2^2 + 2.5^2)."""
    shown = exposures(
        [
            ("r1", "u", [("a", 0.5, True), ("b", 0.8, True), ("x", 0.1, False)]),
            ("r2", "v", [("y", 0.5, False), ("a", 1.0, True)]),
        ]
    )
    sent = feedback(*[(request, item, "click", None) for request, item in (("r1", "b"), ("r1", "x"), ("r2", "a"))])
    figures = means(compared(shown, sent))
    assert figures["ips"] == pytest.approx(2.5 / 5)
    assert figures["snips"] == pytest.approx(2.5 / 4.5)
    assert figures["ess"] == pytest.approx(4.5**2 / (4 + 6.25))
    assert figures["positive_rate"] == pytest.approx(3 / 5)


TASTE = np.array([0.5, 0.3, 0.05, 0.05, 0.05, 0.05])
BORED = 0.2
PLACES, USERS = 3, 200


def explored(share: float, answers: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lists of three, explored as by the service, and simulated clicks: with the probability TASTE, times BORED right
    below an item of the same parity."""
    random = np.random.default_rng(seed)
    served, sent = [], []
    for number in range(answers):
        exploration = Exploration(share, f"{random.integers(2**63):032x}")
        chosen = rerank(TASTE, np.zeros((6, 1)), [[]] * 6, PLACES, pick=exploration.pick)
        served.append(
            (
                f"r{number}",
                f"u{number % USERS}",
                [(f"i{item}", *place) for item, place in zip(chosen, exploration.places, strict=True)],
            )
        )
        for above, item in zip([None, *chosen], chosen, strict=False):
            bored = above is not None and (above + item) % 2 == 0
            if random.random() < TASTE[item] * (BORED if bored else 1.0):
                sent.append((f"r{number}", f"i{item}", "click", None))
    return exposures(served), feedback(*sent)


TRUTH = float(TASTE[:PLACES].sum() / PLACES)
"""Without exploration items 0, 1 and 2 are served, and no item follows one of the same parity."""


def test_off_policy_estimates_recover_the_rate_without_exploration() -> None:
    online = compared(*explored(0.5, 20_000, seed=0))
    (champion,) = online.variants
    rate = champion.figures["positive_rate"].mean
    assert rate is not None and rate < TRUTH - 0.05
    for name in ("ips", "snips"):
        mean, low, high = champion.figures[name]
        assert mean == pytest.approx(TRUTH, abs=0.02)
        assert low is not None and high is not None and low <= TRUTH <= high
    assert champion.figures["snips"] != champion.figures["ips"]


def test_off_policy_intervals_have_the_nominal_coverage() -> None:
    held = {"ips": 0, "snips": 0}
    for seed in range(60):
        (champion,) = compared(*explored(0.3, 600, seed)).variants
        for name in held:
            _, low, high = champion.figures[name]
            assert low is not None and high is not None
            held[name] += low <= TRUTH <= high
    assert min(held.values()) >= 51, "of 60 intervals of 95 %"


@pytest.mark.parametrize("bad", [0.0, 1.5, None])
def test_lists_with_an_invalid_propensity_are_ignored_off_policy(bad: float | None) -> None:
    whole = ("r1", "u", [("a", 0.5, True)])
    shown = exposures([whole, ("r2", "u", [("a", 0.5, True), ("b", bad, True)])])  # type: ignore[list-item]
    clicked = feedback(("r1", "a", "click", None), ("r2", "a", "click", None), ("r2", "b", "click", None))
    figures = means(compared(shown, clicked))
    assert (figures["ips"], figures["snips"], figures["ess"]) == (2.0, 1.0, 1.0)


def test_the_settings_define_positive_events() -> None:
    events = EventSettings()
    silent = events.model_copy(update={"weights": {**events.weights, "view": 0.0}, "dislike_below": 3.0})
    shown = exposures([("r1", "u", CERTAIN)])
    sent = feedback(("r1", "a", "view", None), ("r1", "b", "rating", 2.0))
    assert means(compared(shown, sent))["positive_rate"] == pytest.approx(2 / 3)
    assert means(compared(shown, sent, events=silent))["positive_rate"] == 0.0


def test_feedback_on_unknown_requests_and_items_is_unmatched() -> None:
    sent = feedback(("r9", "a", "click", None), ("r1", "z", "click", None), ("r1", "a", "click", None))
    online = compared(exposures([("r1", "u", CERTAIN)]), sent)
    assert online.unmatched == 2
    assert means(online)["positive_rate"] == pytest.approx(1 / 3)


def test_variants_are_compared_with_the_champion() -> None:
    worse = exposures([(f"r{n}", f"u{n}", CERTAIN) for n in range(200)])
    better = exposures([(f"q{n}", f"v{n}", CERTAIN) for n in range(200)], variant="canary", version="2")
    sent = [(f"r{n}", "a", "click", None) for n in range(20)] + [(f"q{n}", "a", "click", None) for n in range(120)]
    champion, canary = compared(pd.concat([better, worse]), feedback(*sent)).variants
    assert (champion.name, champion.against_champion, canary.model_version) == ("champion", {}, "2")
    mean, low, high = canary.against_champion["ctr@10"]
    assert mean == pytest.approx(0.5) and low is not None and high is not None
    spread = np.sqrt(0.1 * 0.9 / 200 + 0.6 * 0.4 / 200)
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.2)
    assert canary.against_champion["rating"] == Estimate()


def test_without_a_champion_there_are_no_differences() -> None:
    online = compared(exposures([("r1", "u", CERTAIN)], variant="canary"), feedback())
    assert [variant.against_champion for variant in online.variants] == [{}]


def test_a_single_user_has_no_interval() -> None:
    (champion,) = compared(exposures([("r1", "u", CERTAIN)]), feedback(("r1", "a", "click", None))).variants
    assert champion.figures["ctr@10"] == Estimate(1.0, None, None)


def test_an_empty_window_has_no_variants() -> None:
    assert compared(exposures([]), feedback(("r1", "a", "click", None))) == VariantComparison([], 1)


def test_versions_of_a_variant_are_listed_in_order() -> None:
    shown = pd.concat([exposures([("r1", "u", CERTAIN)], version="10"), exposures([("r2", "u", CERTAIN)], version="9")])
    assert compared(shown, feedback()).variants[0].model_version == "10, 9"
