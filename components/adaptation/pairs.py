"""Training pairs for the encoder: an item or an interest document of a user, and the items they consumed next."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.adaptation.errors import AdaptationError
from components.core.columns import Columns
from components.core.timestamps import epoch_seconds
from components.histories.signals import signals
from components.histories.states import SECONDS_A_DAY
from components.interests.documents import item_texts
from components.settings import AdaptationSettings, EventSettings


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query text and a positive text.

    Attributes:
        texts: Distinct texts of items and documents.
        queries: Rows of `texts`, (pairs,).
        positives: Rows of `texts`, (pairs,); always texts of items.
        users: Integer code of each pair's user, (pairs,).
    """

    texts: list[str]
    queries: NDArray[np.int64]
    positives: NDArray[np.int64]
    users: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: NDArray[np.int64]) -> "Pairs":
        """The pairs at these rows; all texts are kept."""
        return Pairs(self.texts, self.queries[rows], self.positives[rows], self.users[rows])

    def is_positive(self, queries: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mask (queries, candidates) of candidates that are a positive of the query or its own text: no negatives."""
        codes = queries[:, None] * len(self.texts) + candidates
        return np.isin(codes, self._codes) | (queries[:, None] == candidates)

    @cached_property
    def _codes(self) -> NDArray[np.int64]:
        return np.unique(self.queries * len(self.texts) + self.positives)


@dataclass(frozen=True)
class _PositiveEvents:
    """Positive events on items with text, sorted by user and time: user codes, epoch seconds and rows of texts."""

    users: NDArray[np.int64]
    times: NDArray[np.float64]
    texts: NDArray[np.int64]

    def first_after(self, users: NDArray[np.int64], query_times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index (n,) of the first event of each user strictly after the given time (epoch seconds)."""
        starts = np.searchsorted(self.users, users)
        ends = np.searchsorted(self.users, users, side="right")
        spans = zip(starts, ends, query_times, strict=True)
        return np.array(
            [start + np.searchsorted(self.times[start:end], at, side="right") for start, end, at in spans], np.int64
        )


def make_pairs(
    events: pd.DataFrame,
    items: pd.DataFrame,
    interests: pd.DataFrame,
    event_settings: EventSettings,
    settings: AdaptationSettings,
    *,
    cut: pd.Timestamp,
    seed: int,
) -> Pairs:
    """Builds pairs from events before the `cut` (exclusive) and from documents with anchors up to it.

    An item is paired with the next `following` positive items of the same user; a document (D_l and D_s) with those
    strictly after its anchor; all at most `within_days` later. Each pair counts once per user, and a text is never
    paired with itself. Above `max_pairs` a seeded sample is drawn, half of it documents if there are enough: they are
    few compared with the items, but they are the queries in production.

    Args:
        events: Columns user, item, event, value, occurred_at.
        items: Columns of the item texts.
        interests: Documents of users by anchor (`as_of`).

    Raises:
        AdaptationError: No item has a text, or no user consumed two items with different texts.
    """
    texts_of_items = item_texts(items)
    if not any(texts_of_items):
        raise AdaptationError(f"none of the {len(items)} items has a text: ingest items with titles or descriptions")
    past_interests = interests[interests[Columns.AS_OF] <= cut]
    documents = [text for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT) for text in past_interests[name]]
    texts = [text for text in dict.fromkeys([*texts_of_items, *documents]) if text]
    rows = {text: row for row, text in enumerate(texts)}
    row_of_item = {item: rows[text] for item, text in zip(items[Columns.ITEM], texts_of_items, strict=True) if text}

    past = events[(events[Columns.OCCURRED_AT] < cut) & events[Columns.ITEM].isin(row_of_item)]
    past = past[signals(past, event_settings) > 0]
    users, user_ids = pd.factorize(past[Columns.USER], sort=True)
    times = epoch_seconds(past[Columns.OCCURRED_AT])
    order = np.lexsort((times, users))
    positives = _PositiveEvents(
        users[order], times[order], past[Columns.ITEM].map(row_of_item).to_numpy(np.int64)[order]
    )
    item_pairs = _next_positives(
        positives, np.arange(len(past)) + 1, positives.users, positives.times, positives.texts, settings
    )
    document_pairs = np.concatenate([*_document_pairs(positives, past_interests, pd.Index(user_ids), rows, settings)])
    pairs = _sample(_deduplicate(item_pairs), _deduplicate(document_pairs), settings.max_pairs, seed)
    if not len(pairs):
        raise AdaptationError(
            f"no pair in {len(past)} positive events before {cut}: no user has two items with different texts "
            f"within {settings.within_days:g} days; raise DUOTEMPO_ADAPTATION__WITHIN_DAYS or ingest more events"
        )
    return Pairs(texts, queries=pairs[:, 1], positives=pairs[:, 2], users=pairs[:, 0])


def split_validation(pairs: Pairs, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Splits by user into training and validation pairs; validation gets a `share` of the users, at least one.

    Raises AdaptationError when one side would be empty, or training would have a single positive item.
    """
    users = np.random.default_rng(seed).permutation(np.unique(pairs.users))
    chosen = np.isin(pairs.users, users[: max(1, round(share * len(users)))])
    training, validation = pairs.take(np.flatnonzero(~chosen)), pairs.take(np.flatnonzero(chosen))
    if len(np.unique(training.positives)) < 2:
        raise AdaptationError(
            f"{len(pairs)} pairs of {len(users)} users are too few for a training and a validation split: "
            "at least two users and two items are needed; raise DUOTEMPO_ADAPTATION__WITHIN_DAYS or ingest more events"
        )
    return training, validation


def _document_pairs(
    positives: _PositiveEvents,
    past_interests: pd.DataFrame,
    user_ids: pd.Index,
    rows: dict[str, int],
    settings: AdaptationSettings,
) -> Iterator[NDArray[np.int64]]:
    users = user_ids.get_indexer(pd.Index(past_interests[Columns.USER]))
    query_times = epoch_seconds(past_interests[Columns.AS_OF])
    for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT):
        texts = past_interests[name].map(rows).fillna(-1).to_numpy(np.int64)
        useful = (users >= 0) & (texts >= 0)
        starts = positives.first_after(users[useful], query_times[useful])
        yield _next_positives(positives, starts, users[useful], query_times[useful], texts[useful], settings)


def _next_positives(
    positives: _PositiveEvents,
    starts: NDArray[np.int64],
    users: NDArray[np.int64],
    query_times: NDArray[np.float64],
    texts: NDArray[np.integer[Any]],
    settings: AdaptationSettings,
) -> NDArray[np.int64]:
    """Rows (user, query, positive) of n queries and the user's next events from index `starts` (n,): (pairs, 3)."""
    pairs = [np.empty((0, 3), np.int64)]
    for step in range(settings.following):
        open_queries = np.flatnonzero(starts + step < len(positives.users))
        at = starts[open_queries] + step
        late = positives.times[at] - query_times[open_queries] > settings.within_days * SECONDS_A_DAY
        good = (positives.users[at] == users[open_queries]) & ~late
        pairs.append(np.column_stack([users[open_queries], texts[open_queries], positives.texts[at]])[good])
    return np.concatenate(pairs)


def _deduplicate(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct rows (user, query, positive), without pairs of a text with itself."""
    return np.unique(pairs[pairs[:, 1] != pairs[:, 2]], axis=0)


def _sample(
    item_pairs: NDArray[np.int64], document_pairs: NDArray[np.int64], limit: int, seed: int
) -> NDArray[np.int64]:
    """At most `limit` rows in total, half of each kind unless one has fewer."""
    random = np.random.default_rng(seed)
    documents = min(len(document_pairs), max(limit // 2, limit - len(item_pairs)))
    items = min(len(item_pairs), limit - documents)
    return np.concatenate(
        [
            pairs[np.sort(random.choice(len(pairs), size, replace=False))]
            for pairs, size in ((item_pairs, items), (document_pairs, documents))
        ]
    )
