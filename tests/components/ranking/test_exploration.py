"""Exploration: propensities are exact, and the re-ranking rules still hold."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ranking.rerank import Exploration, Placement, rerank

SCORES = np.array([1.0, 0.9, 0.5, 0.0])
TEXTS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
CATEGORIES = [["black"], ["black"], ["white"], ["black", "white"]]


def listed(share: float, seed: int, k: int = 4, **rules: float) -> tuple[list[int], list[Placement]]:
    exploration = Exploration(share, f"{seed:032x}")
    return rerank(SCORES, TEXTS, CATEGORIES, k, pick=exploration.pick, **rules), exploration.places  # type: ignore[arg-type]


def test_a_request_id_reproduces_its_list() -> None:
    lists = [listed(1.0, seed) for seed in range(20)]
    assert lists == [listed(1.0, seed) for seed in range(20)]
    assert len({tuple(chosen) for chosen, _ in lists}) > 5


def test_the_propensities_of_a_list_by_hand() -> None:
    """Share 0.4: of 4, 3 and 2 candidates, each one but the best has the propensity 0.1, 0.4 / 3 and 0.2."""
    probabilities = {count: (0.4 / count, 0.6 + 0.4 / count) for count in range(1, 5)}
    for seed in range(50):
        chosen, places = listed(0.4, seed)
        left = [0, 1, 2, 3]
        for position, place in zip(chosen, places, strict=True):
            greedy = position == left[0]
            assert place.greedy == greedy
            assert place.propensity == pytest.approx(probabilities[len(left)][greedy])
            left.remove(position)


@pytest.mark.parametrize("rules", [{}, {"diversity": 0.5}, {"category_cap": 2}])
def test_list_frequencies_match_the_propensities(rules: dict[str, float]) -> None:
    drawn = Counter[tuple[int, ...]]()
    probabilities: dict[tuple[int, ...], float] = {}
    for seed in range(4000):
        chosen, places = listed(0.5, seed, k=2, **rules)
        drawn[tuple(chosen)] += 1
        probabilities[tuple(chosen)] = places[0].propensity * places[1].propensity
    assert set(drawn) <= set(permutations(range(4), 2))
    assert sum(probabilities.values()) == pytest.approx(1.0), "each list that may come has come"
    for chosen_pair, probability in probabilities.items():
        spread = np.sqrt(probability * (1 - probability) / 4000)
        assert drawn[chosen_pair] / 4000 == pytest.approx(probability, abs=4 * spread)


def test_without_exploration_the_list_is_greedy() -> None:
    chosen, places = listed(0.0, 1, diversity=0.5)
    assert chosen == rerank(SCORES, TEXTS, CATEGORIES, 4, diversity=0.5)
    assert places == [Placement(1.0, greedy=True)] * 4


@given(data=st.data())
def test_rules_hold_whatever_is_drawn(data: st.DataObject) -> None:
    count, k = data.draw(st.integers(0, 12)), data.draw(st.integers(1, 12))
    cap, share = data.draw(st.integers(0, 3)), data.draw(st.floats(0, 1))
    categories = data.draw(st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=count, max_size=count))
    tail = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=bool)
    exploration = Exploration(data.draw(st.floats(0, 1)), f"{data.draw(st.integers(0, 2**128 - 1)):032x}")
    scores = np.arange(count, 0.0, -1.0)
    chosen = rerank(
        scores, np.zeros((count, 2)), categories, k, category_cap=cap, tail=tail, tail_share=share,
        pick=exploration.pick,
    )  # fmt: skip
    used = Counter(name for position in chosen for name in set(categories[position]))
    assert len(set(chosen)) == len(chosen) == len(exploration.places) <= k
    assert not cap or max(used.values(), default=0) <= cap
    shown = np.cumsum(tail[chosen])
    assert all(shown[place] >= int(share * (place + 1)) for place in range(len(chosen)))
    assert cap or share or len(chosen) == min(k, count)
    assert all(0 < place.propensity <= 1 for place in exploration.places)
