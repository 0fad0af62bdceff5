"""An extended bundle scores trained items as before and new items by their texts."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.catalogues import clustered_bundle, visitors
from components.arrays.concat_rows import ConcatRows
from components.bundle.bundle import Bundle
from components.bundle.extended import ExtendedBundle, extend
from components.histories.states import UserState
from components.ranking.candidates import Candidates, with_indexes
from components.ranking.retrieval import ItemRetrieval, PopularItems, UserRetrieval
from components.ranking.scorer import PARTS, Scorer, Strategy
from components.store.item_vectors import EncodedItem
from serving.recommend.trend import LiveTrend
from tests.support.toy_data import tiny_bundle

TRAINED, NEW = 40, 3
NOW = 1_717_200_000.0


def new_items(dimension: int, count: int = NEW) -> list[EncodedItem]:
    """New items; the last one has no text."""
    random = np.random.default_rng(5)
    texts = random.normal(size=(count, dimension)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    texts[-1] = 0
    day = datetime(2024, 6, 2, tzinfo=UTC)
    return [EncodedItem(f"later{n}", f"New {n}", ["home"], True, day, str(n), text) for n, text in enumerate(texts)]


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return tiny_bundle(TRAINED)


@pytest.fixture(scope="module")
def extended(plain: Bundle) -> ExtendedBundle:
    return extend(plain, new_items(plain.texts.shape[1]))


def scorers(plain: Bundle, extended: ExtendedBundle) -> tuple[Scorer, Scorer]:
    trend = LiveTrend(plain.row, plain.items["recent"].to_numpy())
    scorer = Scorer(plain, trend)
    return scorer, scorer.extended(extended, trend.extended(extended.row, extended.items.num_rows))


def state(items: list[int]) -> UserState:
    size = len(items)
    return UserState(np.array(items), NOW - np.arange(size, 0, -1.0), np.ones(size, np.float32), NOW)


def test_rows_of_new_items_follow_the_trained_ones(plain: Bundle, extended: ExtendedBundle) -> None:
    assert [extended.row.get(item) for item in ("i0", "i39", "later0", "later2", "nobody")] == [0, 39, 40, 42, None]
    assert extended.items["item_id"].to_pylist()[TRAINED:] == ["later0", "later1", "later2"]
    assert extended.items["popularity"].to_pylist()[TRAINED:] == [0, 0, 0]
    assert extended.items.schema == plain.items.schema


def test_a_new_item_is_represented_by_its_text(plain: Bundle, extended: ExtendedBundle) -> None:
    texts = np.stack([item.vector for item in new_items(plain.texts.shape[1])])
    rows = np.arange(TRAINED, TRAINED + NEW)
    np.testing.assert_array_equal(extended.texts[rows], texts)
    expected = (texts - plain.text_mean) @ plain.text_matrix
    np.testing.assert_allclose(extended.vectors[rows][:-1], expected[:-1], rtol=1e-6)
    assert not extended.vectors[rows][-1].any()


@pytest.mark.parametrize("strategy", PARTS)
def test_trained_items_score_as_before(plain: Bundle, extended: ExtendedBundle, strategy: Strategy) -> None:
    before, after = scorers(plain, extended)
    states = [state([3, 7, 20]), state([])]
    before_scores, after_scores = before.score(states, strategy), after.score(states, strategy)
    np.testing.assert_allclose(after_scores.total[:, :TRAINED], before_scores.total, atol=1e-5)
    assert after_scores.total.shape == (2, TRAINED + NEW)
    np.testing.assert_allclose(after.totals(states, strategy)[0], after_scores.total, atol=1e-5)
    rows = np.array([2, 41, 17, 40])
    np.testing.assert_allclose(after.score(states, strategy, rows).total, after_scores.total[:, rows], atol=1e-5)


def test_a_new_item_in_the_history_raises_similar_items(plain: Bundle) -> None:
    """Two new items with the same text: a like of one raises the score of the other."""
    first, second, _ = new_items(plain.texts.shape[1])
    extended = extend(plain, [first, replace(second, vector=first.vector)])
    after = scorers(plain, extended)[1]
    for strategy in ("content", "hybrid"):
        liked, not_liked = (after.score([state(items)], strategy).total[0, TRAINED + 1] for items in ([TRAINED], []))
        assert liked > not_liked


def test_similarity_to_new_items(plain: Bundle, extended: ExtendedBundle) -> None:
    scores = ItemRetrieval(extended, TRAINED).scores(None)
    assert scores[TRAINED] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(ItemRetrieval(extended, TRAINED).scores(np.array([5, 41])), scores[[5, 41]], atol=1e-5)
    np.testing.assert_allclose(ItemRetrieval(plain, 3).scores(None), ItemRetrieval(extended, 3).scores(None)[:TRAINED])


def test_new_items_of_a_large_catalogue_are_candidates(tmp_path: Path) -> None:
    with_indexes(clustered_bundle(8_000, width=16), 5_000).write(tmp_path)
    plain = Bundle.read(tmp_path, mapped=True)
    (visitor,) = visitors(plain, 1)
    wanted = plain.vectors[visitor.items].mean(axis=0)
    later: Any = ConcatRows(plain.vectors, np.stack([wanted * 10, wanted * 9, wanted * 0]))
    bundle = replace(extend(plain, new_items(plain.texts.shape[1])), vectors=later)
    scorer = scorers(plain, bundle)[1]
    query = UserRetrieval(scorer, scorer.query([visitor]), PopularItems(scorer))
    mask = np.ones(bundle.items.num_rows, dtype=bool)
    rows, _ = next(Candidates(bundle, 5_000).batches(query, mask, 10))
    assert {8_000, 8_001} <= set(rows)
