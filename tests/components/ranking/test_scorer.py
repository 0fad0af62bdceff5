"""R = recommender(U, D): scores and their parts."""

from dataclasses import replace

import numpy as np
import pytest

from components.histories.signals import PastTrend, standardise, trend_scores
from components.histories.states import UserState, collate
from components.ranking.scorer import PARTS, Scorer, Strategy, long_share
from tests.support.toy_data import as_scipy, tiny_bundle

NOW = 1_717_200_000.0
DAY = 86_400.0
BUNDLE = tiny_bundle()
SCORER = Scorer(BUNDLE)
STRATEGIES: tuple[Strategy, ...] = ("content", "collaborative", "hybrid")


def state(*items: int, signals: list[float] | None = None, days: float = 1.0, documents: bool = False) -> UserState:
    """A history, oldest first, with `days` between events and between the last one and now."""
    ages = days * np.arange(len(items), 0, -1)
    vectors = np.ones((2, 12), dtype=np.float32) if documents else None
    strengths = np.array(signals or [1.0] * len(items), dtype=np.float32)
    return UserState(np.array(items, dtype=np.int64), NOW - DAY * ages, strengths, NOW, vectors)


COLD_USER = UserState(np.array([], dtype=np.int64), np.array([]), np.array([], dtype=np.float32), NOW)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_total_is_the_sum_of_the_parts(strategy: Strategy) -> None:
    scores = SCORER.score([state(1, 2, 3), COLD_USER], strategy)
    assert set(scores.parts) == set(PARTS[strategy])
    assert scores.total.shape == (2, 40)
    assert scores.total.dtype == np.float32
    np.testing.assert_allclose(scores.total, sum(scores.parts.values()), rtol=1e-5, atol=1e-5)


def test_long_and_short_are_the_parts_of_the_fused_interest() -> None:
    """In the toy bundle, long is the sum of the history's vectors and short the newest one."""
    scores = SCORER.score([state(1, 2, 3)])
    np.testing.assert_allclose(scores.parts["long"][0], BUNDLE.vectors @ BUNDLE.vectors[[1, 2, 3]].sum(0), rtol=1e-4)
    np.testing.assert_allclose(scores.parts["short"][0], BUNDLE.vectors @ BUNDLE.vectors[3], rtol=1e-4)


def test_collaborative_weights_decay_with_every_later_event() -> None:
    part = SCORER.score([state(4, 7, 2)], "collaborative").parts["collaborative"][0]
    expected = np.array([0.81, 0.9, 1.0]) @ as_scipy(BUNDLE.neighbours)[[4, 7, 2]].toarray()
    np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("recency", [0.5, 0.9])
def test_incremental_and_full_sums_agree(recency: float) -> None:
    scorer = Scorer(replace(BUNDLE, manifest=BUNDLE.manifest | {"recency": recency, "history": 60}))
    random = np.random.default_rng(0)
    items, signals = random.integers(0, 40, 70), random.choice([-1.0, 1.0, 3.0], 70).tolist()
    before, ends, added = None, [0, 1, 1, 2, 5, 6, *range(8, 70)], []
    for end in ends:
        whole = state(*items[:end], signals=signals[:end])
        before = scorer.query([whole], before=before)
        added.append(before.added)
        np.testing.assert_allclose(scorer.total(before), scorer.score([whole]).total, rtol=1e-5, atol=1e-5)
    assert max(added) > 5
    assert added.count(0) > 1


@pytest.mark.parametrize(
    "other", [state(1, 2), state(1, 3, 3), state(1, 2, 3, signals=[1.0, 1.0, -1.0]), state(3, 1, 2, 3, 3)]
)
def test_a_different_history_is_summed_in_full(other: UserState) -> None:
    before = SCORER.query([state(1, 2, 3)])
    again = SCORER.query([other], before=before)
    assert again.added == 0
    np.testing.assert_array_equal(SCORER.total(again), SCORER.total(SCORER.query([other])))
    collaborative = SCORER.query([state(1, 2, 3, 4)], "collaborative", before=before)
    np.testing.assert_array_equal(
        SCORER.total(collaborative), SCORER.total(SCORER.query([state(1, 2, 3, 4)], "collaborative"))
    )


@pytest.mark.parametrize("strategy", PARTS)
def test_totals_are_the_sum_of_the_parts(strategy: Strategy) -> None:
    states = [state(1, 2, 3), state(4, signals=[-1.0]), COLD_USER]
    scores, (total, share) = SCORER.score(states, strategy), SCORER.totals(states, strategy)
    np.testing.assert_allclose(total, scores.total, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(share, scores.long_share)


def test_a_dislike_counts_against() -> None:
    liked, disliked = SCORER.score([state(4), state(4, signals=[-1.0])], "content").parts["content"]
    np.testing.assert_allclose(disliked, -liked, rtol=1e-5, atol=1e-6)
    assert liked[4] == liked.max()


def test_content_reads_the_documents_too() -> None:
    with_documents, without = SCORER.score([state(4, documents=True), state(4)], "content").parts["content"]
    assert np.abs(with_documents - without).max() > 0.01


@pytest.mark.parametrize("strategy", PARTS)
@pytest.mark.parametrize("learned", [0.1, -0.5])
def test_a_cold_user_gets_the_trend_then_popularity(strategy: Strategy, learned: float) -> None:
    """The learned blending weights of popularity do not apply to them."""
    mixture = {"collaborative": 0.5, "popularity": learned, "recent": 0.1}
    scorer = Scorer(replace(BUNDLE, manifest=BUNDLE.manifest | {"mixture": mixture}))
    scores = scorer.score([COLD_USER], strategy)
    popularity, recent = (trend_scores(BUNDLE.items[name].to_numpy()[None])[0] for name in ("popularity", "recent"))
    prior = 0.5 * popularity + recent
    assert scores.total[0].argmax() == prior.argmax()
    np.testing.assert_allclose(scores.total[0], prior, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scorer.totals([COLD_USER], strategy)[0][0], prior, rtol=1e-5, atol=1e-6)
    assert np.isnan(scores.long_share[0])


@pytest.mark.parametrize("strategy", PARTS)
def test_popularity_counts_only_among_the_requested_items(strategy: Strategy) -> None:
    among = np.arange(40) % 3 == 0
    plain, narrow = SCORER.query([state(4)], strategy), SCORER.query([state(4)], strategy, among)
    prior, within = SCORER.prior(plain)[0], SCORER.prior(narrow)[0]
    np.testing.assert_array_equal(within[among], prior[among])
    np.testing.assert_array_equal(within[~among], np.minimum(prior[~among], 0))
    rows = np.array([3, 4, 5, 12])
    np.testing.assert_allclose(SCORER.total(narrow)[0, rows], SCORER.total(narrow, rows)[0], rtol=1e-5, atol=1e-5)
    expected = SCORER.total(plain)[0] - prior + within
    np.testing.assert_allclose(SCORER.total(narrow)[0], expected, rtol=1e-4, atol=1e-4)


def test_scores_do_not_depend_on_the_batch() -> None:
    states = [state(1, 2, 3), state(*range(30)), COLD_USER, state(5, documents=True)]
    together = SCORER.score(states)
    for row, single in enumerate(states):
        np.testing.assert_allclose(together.total[row], SCORER.score([single]).total[0], rtol=1e-4, atol=1e-4)


def test_an_empty_batch_has_no_rows() -> None:
    assert SCORER.score([]).total.shape == (0, 40)


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(ValueError, match="'magic' is none of content, collaborative, hybrid"):
        SCORER.score([COLD_USER], "magic")  # type: ignore[arg-type]


def test_long_share_is_the_ratio_of_the_norms() -> None:
    shares = long_share(np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 15.0], [1.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(shares, [0.25, 0.0, np.nan])


def test_standardised_values_have_mean_0_and_deviation_1() -> None:
    varied, even = standardise(np.array([[1.0, 2.0, 6.0], [7.0, 7.0, 7.0]]))
    np.testing.assert_allclose([varied.mean(), varied.std()], [0.0, 1.0], atol=1e-6)
    assert even.tolist() == [0.0] * 3


def test_a_trend_counts_the_seven_days_before_the_moment() -> None:
    """An event at the moment itself does not count; one exactly seven days earlier does."""
    times = NOW - DAY * np.array([0.0, 1.0, 3.0, 7.0, 7.5])
    trend = PastTrend(np.array([0, 1, 1, 2, 3]), times, 40)
    counts = np.zeros((2, 40))
    counts[0, [1, 2]] = 2, 1
    counts[1, [1, 2, 3]] = 1, 1, 1
    np.testing.assert_allclose(trend.scores(np.array([NOW, NOW - 2 * DAY])), trend_scores(counts), atol=1e-6)


def test_the_scorer_uses_the_live_trend() -> None:
    """The live trend replaces the trend as of the training cut."""
    live = Scorer(BUNDLE, PastTrend(np.full(50, 17), np.full(50, NOW - 60), 40))
    assert SCORER.score([COLD_USER]).total[0].argmax() != 17
    assert live.score([COLD_USER]).total[0].argmax() == 17
    assert live.totals([COLD_USER])[0][0].argmax() == 17


def test_states_are_padded_on_the_left_and_the_newest_kept() -> None:
    batch = collate([state(1, 2, 3), state(*range(10)), COLD_USER], history=6, dimension=12)
    assert batch.items.shape == (3, 6)
    assert batch.items[0].tolist() == [0, 0, 0, 1, 2, 3]
    assert batch.items[1].tolist() == [4, 5, 6, 7, 8, 9]
    assert batch.signals.sum(axis=1).tolist() == [3.0, 6.0, 0.0]
    np.testing.assert_allclose(batch.ages[0], [0, 0, 0, 3, 2, 1])
    assert batch.present.tolist() == [[0, 0]] * 3


def test_an_event_in_the_future_has_age_zero() -> None:
    ahead = UserState(np.array([1]), np.array([NOW + 60]), np.ones(1, dtype=np.float32), NOW)
    assert collate([ahead], history=5, dimension=12).ages.tolist() == [[0.0]]
