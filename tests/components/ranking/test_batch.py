"""Batch recommendations equal those for single users."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.core.columns import Columns
from components.histories.sequences import Documents, Sequences, build_sequences
from components.histories.signals import PastTrend
from components.ranking.batch import CHUNK, recommend_all
from components.ranking.filters import Exclusion
from components.ranking.scorer import Scorer
from components.settings import EventSettings, RankingSettings
from tests.support.toy_data import tiny_bundle

NOW = datetime(2024, 6, 1, tzinfo=UTC)
UNAVAILABLE = (7, 8)
USERS = CHUNK + 5
DOCUMENTS = Documents(np.array(["u3"], dtype=object), np.array([NOW.timestamp() - 60]), np.ones((1, 2, 12), np.float32))


BUNDLE = tiny_bundle()
AVAILABLE = [f"i{row}" for row in range(BUNDLE.items.num_rows) if row not in UNAVAILABLE]


def events(users: int) -> pd.DataFrame:
    """Each user's likes of three items."""
    rows = [
        (f"u{user}", f"i{(user * 3 + step) % 40}", NOW - timedelta(hours=9 - step))
        for step in range(3)
        for user in range(users)
    ]
    frame = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.OCCURRED_AT])
    frame[Columns.OCCURRED_AT] = frame[Columns.OCCURRED_AT].astype("datetime64[us, UTC]")
    return frame.assign(event="like", value=np.nan)


def histories(users: int = USERS) -> Sequences:
    return build_sequences(events(users), Scorer(BUNDLE).row, EventSettings(), DOCUMENTS)


def table(sequences: Sequences, k: int, settings: RankingSettings | None = None) -> pd.DataFrame:
    chosen = settings or RankingSettings()
    excluded = Exclusion.of(chosen, EventSettings()).rows(events(len(sequences.users)), BUNDLE.row)
    return recommend_all(BUNDLE, sequences, DOCUMENTS, AVAILABLE, excluded, chosen, now=NOW, k=k).to_pandas()


def test_every_user_gets_k_items_ranked_from_one() -> None:
    sequences = histories()
    frame = table(sequences, 5)
    assert list(frame.columns) == [Columns.USER, Columns.RANK, Columns.ITEM, Columns.SCORE]
    assert frame[Columns.USER].unique().tolist() == sequences.users.tolist()
    lists = frame.groupby(Columns.USER, sort=False)
    assert lists[Columns.RANK].apply(list).map(lambda ranks: ranks == [1, 2, 3, 4, 5]).all()
    assert lists[Columns.SCORE].apply(lambda scores: scores.is_monotonic_decreasing).all()


def test_each_list_follows_the_scorer() -> None:
    sequences = histories()
    scorer = Scorer(BUNDLE, PastTrend(sequences.items, sequences.times, BUNDLE.items.num_rows))
    lists = table(sequences, 5).groupby(Columns.USER)
    for number in (0, 3, CHUNK - 1, CHUNK, USERS - 1):
        user = sequences.users[number]
        state = sequences.states(np.array([number]), np.array([NOW.timestamp()]), DOCUMENTS)[0]
        total = scorer.score([state]).total[0]
        total[[*state.items, *UNAVAILABLE]] = -np.inf
        best = np.argsort(-total, kind="stable")[:5]
        assert lists.get_group(user)[Columns.ITEM].tolist() == [f"i{row}" for row in best]
        np.testing.assert_allclose(lists.get_group(user)[Columns.SCORE], total[best], rtol=1e-4)


def test_seen_and_unavailable_items_are_left_out() -> None:
    sequences = histories(4)
    frame = table(sequences, 100)
    for number, user in enumerate(sequences.users):
        seen = {
            f"i{row}" for row in sequences.states(np.array([number]), np.array([NOW.timestamp()]), DOCUMENTS)[0].items
        }
        items = frame.loc[frame[Columns.USER] == user, Columns.ITEM]
        assert set(items) == {f"i{row}" for row in range(40)} - seen - {f"i{row}" for row in UNAVAILABLE}
        assert items.is_unique


def test_the_settings_may_allow_seen_items() -> None:
    frame = table(histories(4), 100, RankingSettings(exclude_seen=[]))
    assert (frame.groupby(Columns.USER).size() == len(AVAILABLE)).all()


def test_the_strategy_of_the_settings_is_used() -> None:
    by_content = table(histories(3), 5, RankingSettings(strategy="content"))
    hybrid = table(histories(3), 5)
    assert by_content[Columns.ITEM].tolist() != hybrid[Columns.ITEM].tolist()


@pytest.mark.parametrize("k", [1, 100])
def test_without_users_the_table_is_empty(k: int) -> None:
    no_documents = Documents.none(12)
    empty = build_sequences(events(0), Scorer(BUNDLE).row, EventSettings(), no_documents)
    frame = recommend_all(BUNDLE, empty, no_documents, AVAILABLE, {}, RankingSettings(), now=NOW, k=k).to_pandas()
    assert len(frame) == 0
    assert list(frame.columns) == [Columns.USER, Columns.RANK, Columns.ITEM, Columns.SCORE]


def test_the_category_cap_holds_for_every_user() -> None:
    frame = table(histories(), 6, RankingSettings(category_cap=2))
    kinds = dict(zip(BUNDLE.items["item_id"].to_pylist(), BUNDLE.items["category"].to_pylist(), strict=True))
    counts = frame.assign(kind=[kinds[item][0] for item in frame[Columns.ITEM]]).groupby([Columns.USER, "kind"]).size()
    assert counts.max() == 2
    assert (frame.groupby(Columns.USER).size() == 6).all()
