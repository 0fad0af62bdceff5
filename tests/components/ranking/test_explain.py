"""Explanations, checked against the scores."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.histories.states import SECONDS_A_DAY, UserState
from components.ranking.explain import SHARES, Explainer, sentence
from components.ranking.scorer import PARTS, Scorer, Strategy
from components.settings import InterestSettings
from tests.support.toy_data import COLOURS, NAMES, chessboard

NOW = 1_700_000_000.0
SCORER = Scorer(chessboard())
EXPLAINER = Explainer(SCORER, InterestSettings())
BLACK, WHITE = np.flatnonzero(COLOURS == "black"), np.flatnonzero(COLOURS == "white")


def state_of(rows: list[int], days_ago: list[float], signals: list[float] | None = None) -> UserState:
    times = np.array([NOW - days * SECONDS_A_DAY for days in days_ago])
    strengths = np.array([1.0] * len(rows) if signals is None else signals, dtype=np.float32)
    return UserState(np.array(rows, dtype=np.int64), times, strengths, NOW)


def explain(state: UserState, rows: NDArray[np.int64], strategy: Strategy = "hybrid") -> list[dict[str, Any]]:
    return EXPLAINER.why(rows, state, SCORER.query([state], strategy))


histories = st.lists(
    st.tuples(
        st.integers(0, len(NAMES) - 1), st.floats(0, 400, allow_subnormal=False), st.sampled_from([1.0, 0.5, -1.0])
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(histories, st.sampled_from(sorted(PARTS)), st.lists(st.integers(0, 63), min_size=1, max_size=5, unique=True))
def test_without_a_named_item_the_score_falls_by_its_contribution(
    history: list[tuple[int, float, float]], strategy: Strategy, targets: list[int]
) -> None:
    history = sorted(history, key=lambda event: -event[1])
    state = state_of([e[0] for e in history], [e[1] for e in history], [e[2] for e in history])
    score = SCORER.score([state], strategy).total[0]
    for row, why in zip(targets, explain(state, np.array(targets), strategy), strict=True):
        falls = []
        for named in why["because"]:
            kept = [event for event in history if NAMES[event[0]] != named["item_id"]]
            assert len(kept) < len(history)
            without = state_of([e[0] for e in kept], [e[1] for e in kept], [e[2] for e in kept])
            falls.append(score[row] - SCORER.score([without], strategy).total[0, row])
            assert named["contribution"] > 0
            assert falls[-1] == pytest.approx(named["contribution"], abs=1e-3)
        assert falls == sorted(falls, reverse=True) or np.allclose(falls, sorted(falls, reverse=True), atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(histories, st.sampled_from(sorted(PARTS)))
def test_shares_are_those_of_the_positive_parts(history: list[tuple[int, float, float]], strategy: Strategy) -> None:
    history = sorted(history, key=lambda event: -event[1])
    state = state_of([e[0] for e in history], [e[1] for e in history], [e[2] for e in history])
    parts = SCORER.score([state], strategy).parts
    (why,) = explain(state, np.array([3]), strategy)
    positive = {name: max(float(parts[name][0, 3]), 0.0) for name in PARTS[strategy]}
    whole = sum(positive.values())
    for name in SHARES:
        expected = positive.get(name, 0.0) / whole if whole > 0 else 0.0
        assert why[name] == pytest.approx(expected, abs=1e-4)


def test_terms_are_those_that_item_and_user_share() -> None:
    state = state_of(list(BLACK[:5]), [50, 40, 30, 20, 10])
    black, white = explain(state, np.array([BLACK[10], WHITE[10]]))
    assert black["categories"] == ["black"]
    assert "black" in black["keywords"]
    assert white["categories"] == []
    assert "black" in black["text"]


@settings(max_examples=25, deadline=None)
@given(histories, st.sampled_from(sorted(PARTS)))
def test_text_similarity_is_that_of_the_content_strategy(
    history: list[tuple[int, float, float]], strategy: Strategy
) -> None:
    history = sorted(history, key=lambda event: -event[1])
    state = state_of([e[0] for e in history], [e[1] for e in history], [e[2] for e in history])
    content = SCORER.score([state], "content").parts["content"][0]
    for row, why in zip((3, 20), explain(state, np.array([3, 20]), strategy), strict=True):
        assert why["text_similarity"] == pytest.approx(content[row], abs=1e-4)


@pytest.mark.parametrize("strategy", PARTS)
def test_of_a_long_history_the_item_that_moved_the_score_most_is_named_first(strategy: Strategy) -> None:
    """Only some history items are tested by leave-one-out; the strongest is nearly always among them."""
    random, shares = np.random.default_rng(0), []
    for _ in range(40):
        rows = random.choice(64, 50, replace=False)
        days = np.sort(random.uniform(0, 200, len(rows)))[::-1]
        state = state_of(list(rows), list(days), list(random.choice([1.0, 0.5, -1.0], len(rows))))
        target = int(random.choice(np.setdiff1d(np.arange(64), rows)))
        (why,) = explain(state, np.array([target]), strategy)
        kept = [state.items != row for row in rows]
        without = [UserState(state.items[k], state.times[k], state.signals[k], NOW) for k in kept]
        falls = SCORER.score([state], strategy).total[0, target] - SCORER.score(without, strategy).total[:, target]
        if falls.max() > 1e-3:
            shares.append(why["because"][0]["contribution"] / falls.max())
    assert len(shares) > 20
    assert np.mean(shares) > 0.97


def test_the_profile_separates_long_and_short_term() -> None:
    profile = EXPLAINER.profile(state_of([*BLACK[:5], WHITE[0]], [100, 90, 80, 70, 60, 1]))
    assert profile.long_terms()[0] == "black"
    assert profile.short_terms()[0] == "white"
    assert "black" not in profile.short_terms()


def test_disliked_items_are_no_interest() -> None:
    profile = EXPLAINER.profile(state_of([BLACK[0], WHITE[0]], [2, 1], [1.0, -1.0]))
    assert "white" not in profile.long_terms()
    assert "white" not in profile.short_terms()


def test_without_a_history_popularity_is_the_only_reason() -> None:
    popular = int(np.argmax(SCORER.score([state_of([], [])]).total[0]))
    (why,) = explain(state_of([], []), np.array([popular]))
    assert why["popularity"] == 1.0
    assert why["because"] == []
    assert "Many people" in str(why["text"])


def test_trend_marks_the_most_wanted_of_the_last_days() -> None:
    recent = SCORER.bundle.items["recent"].to_numpy()
    high, low = explain(state_of([], []), np.array([np.argmax(recent), np.argmin(recent)]))
    assert high["trend"] is True
    assert low["trend"] is False


@pytest.mark.parametrize(
    ("main", "words"),
    [
        ("long", "Fits what you have liked for long (home), because of A and B."),
        ("short", "Fits what you are into right now (home), because of A and B."),
        ("content", "Reads like what you liked (home), because of A and B."),
        ("collaborative", "It often follows what you had (home), because of A and B."),
        ("popularity", "Many people like it."),
    ],
)
def test_the_largest_share_leads_the_sentence(main: str, words: str) -> None:
    shares = {name: 0.6 if name == main else 0.1 for name in SHARES}
    assert sentence(shares, ["A", "B", "C"], ["home"], trend=False) == words
