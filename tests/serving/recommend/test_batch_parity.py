"""The service and the batch job build the same list for the same state, with any re-ranking and filters."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.arrays.arrow import numbers
from components.histories.states import UserState
from components.ranking.batch import BatchLists
from components.ranking.rerank import in_tail
from components.ranking.scorer import Scorer
from components.settings import RankingSettings
from serving.contract.requests import RecommendFilters, RecommendRequest
from serving.recommend.catalogue import LiveCatalogue
from serving.recommend.ranking import Ranker
from serving.recommend.trend import LiveTrend
from tests.support.toy_data import CATEGORIES, tiny_bundle

BUNDLE = tiny_bundle(700)
"""More items than are re-ranked initially."""
RULES = st.builds(
    RankingSettings,
    diversity=st.sampled_from([0.0, 0.3]),
    category_cap=st.sampled_from([0, 1, 70]),
    tail_share=st.sampled_from([0.0, 0.3, 0.8]),
)
FILTERS = st.builds(
    RecommendFilters,
    category_in=st.none() | st.lists(st.sampled_from(CATEGORIES), min_size=1, unique=True),
    category_out=st.lists(st.sampled_from(CATEGORIES), max_size=1),
)


def state(items: list[int]) -> UserState:
    count = len(items)
    return UserState(np.array(items), np.arange(count, dtype=float), np.ones(count, np.float32), 1e6, None)


@settings(deadline=None, max_examples=60)
@given(
    rules=RULES,
    filters=FILTERS,
    history=st.lists(st.integers(0, 699), min_size=1, max_size=8, unique=True),
    hidden=st.sets(st.integers(0, 699), max_size=300),
    k=st.integers(1, 250),
)
def test_service_and_batch_build_the_same_list(
    rules: RankingSettings, filters: RecommendFilters, history: list[int], hidden: set[int], k: int
) -> None:
    trend = LiveTrend(BUNDLE.row, numbers(BUNDLE.items["recent"]))
    scorer, listing = Scorer(BUNDLE, trend), LiveCatalogue(BUNDLE.items, BUNDLE.row)
    lists = Ranker(BUNDLE, scorer, trend, listing, in_tail(numbers(BUNDLE.items["popularity"])), rules)
    excluded = np.array(sorted({*history, *hidden}), dtype=np.int64)
    request = RecommendRequest.model_validate({"user_id": "ann", "k": k, "filters": filters.model_dump()})
    query = scorer.query([state(history)])
    served = lists.for_user(request, excluded, query).rows

    by_category = [not filters.category_in or bool({*names} & {*filters.category_in}) for names in categories()]
    allowed = np.array(by_category) & [not {*names} & {*filters.category_out} for names in categories()]
    left_out = np.union1d(excluded, np.flatnonzero(~allowed))
    (batch,) = BatchLists(BUNDLE, rules).build(scorer.total(query), [left_out], k)
    assert served.tolist() == batch[batch >= 0].tolist()


def categories() -> list[list[str]]:
    names: list[list[str]] = BUNDLE.items["category"].to_pylist()
    return names
