"""Filters, and the order of the best items."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from components.ranking.filters import CategoryIndex, best_first, eligible

CATEGORIES = [["black"], ["white"], ["black", "corner"], [], ["white", "corner"]]


def index_of(categories: list[list[str]]) -> CategoryIndex:
    return CategoryIndex(pa.chunked_array([pa.array(categories, pa.list_(pa.string()))]))


INDEX = index_of(CATEGORIES)
NAMED = ["black", "white", "corner", "unheard of"]
names = st.sampled_from(NAMED)
catalogues = st.lists(st.lists(names, max_size=3), max_size=30)


def test_without_filters_every_item_is_eligible() -> None:
    assert eligible(INDEX, set()).tolist() == [True] * 5


def test_category_in_needs_one_of_them() -> None:
    assert eligible(INDEX, set(), ["black", "corner"]).tolist() == [True, False, True, False, True]


def test_category_out_wins_over_category_in() -> None:
    assert eligible(INDEX, set(), ["corner"], ["white"]).tolist() == [False, False, True, False, False]


def test_an_unknown_category_has_no_items() -> None:
    assert not eligible(INDEX, set(), ["unheard of"]).any()


def test_excluded_rows_are_out() -> None:
    assert np.flatnonzero(eligible(INDEX, {0, 3})).tolist() == [1, 2, 4]


@given(catalogues, st.none() | st.sets(names, min_size=1), st.sets(names), st.data())
def test_exactly_the_items_that_fit_every_rule_are_eligible(
    catalogue: list[list[str]], required: set[str] | None, forbidden: set[str], data: st.DataObject
) -> None:
    excluded = data.draw(st.sets(st.integers(0, len(catalogue) - 1)) if catalogue else st.just(set()))
    mask = eligible(index_of(catalogue), excluded, required, forbidden)
    expected = [
        row not in excluded
        and (required is None or bool(required & set(categories)))
        and not forbidden & set(categories)
        for row, categories in enumerate(catalogue)
    ]
    assert mask.tolist() == expected


@given(catalogues, st.lists(st.tuples(st.integers(0, 40), st.lists(names, max_size=3))), st.lists(st.lists(names)))
def test_an_updated_index_equals_a_rebuilt_one(
    catalogue: list[list[str]], updates: list[tuple[int, list[str]]], later: list[list[str]]
) -> None:
    before, index = index_of(catalogue), index_of(catalogue)
    now = list(catalogue)
    for row, categories in updates[: len(updates) // 2]:
        if row < len(now):
            index.set_categories(row, categories)
            now[row] = categories
    early = [index.mask([name]).tolist() for name in NAMED]
    extended = index.extended(later)
    now += later
    for row, categories in updates[len(updates) // 2 :]:
        if row < len(now):
            extended.set_categories(row, categories)
            now[row] = categories
    for name, mask in zip(NAMED, early, strict=True):
        assert extended.mask([name]).tolist() == [name in categories for categories in now]
        assert index.mask([name]).tolist() == mask
        assert before.mask([name]).tolist() == [name in categories for categories in catalogue]
    assert extended.mask(NAMED).tolist() == [bool(categories) for categories in now]


@given(st.lists(st.sampled_from([0.5, 0.9, 1.0, -2.0, np.nan]), max_size=40), st.integers(0, 45))
def test_best_first_is_by_score_then_by_position(values: list[float], count: int) -> None:
    scores = np.array(values, dtype=np.float32)
    assert best_first(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()
