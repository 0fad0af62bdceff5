"""Pairs of texts that belong together: what somebody took up, or was like, and what they took up next."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from components.adaptation.errors import AdaptationError
from components.core.columns import Columns
from components.core.timestamps import epoch_seconds
from components.histories.signals import signals
from components.histories.states import SECONDS_A_DAY
from components.interests.documents import item_texts
from components.settings import AdaptationSettings, EventSettings


@dataclass(frozen=True)
class Pairs:
    """texts: distinct, of items and documents. queries, positives: int64 (P,) rows of `texts`, a positive is always an
    item's. people: int64 (P,) code of whose pair it is."""

    texts: list[str]
    queries: np.ndarray
    positives: np.ndarray
    users: np.ndarray

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: np.ndarray) -> "Pairs":
        """The pairs of these rows; all texts stay."""
        return Pairs(self.texts, self.queries[rows], self.positives[rows], self.users[rows])

    def is_positive(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Whether a candidate is a positive of the query or its very text, so no negative: bool (q, c)."""
        codes = queries[:, None] * len(self.texts) + candidates
        return np.isin(codes, self._codes) | (queries[:, None] == candidates)

    @cached_property
    def _codes(self) -> np.ndarray:
        return np.unique(self.queries * len(self.texts) + self.positives)


@dataclass(frozen=True)
class _PositiveEvents:
    """Positive events of items with text, by person and then by time: person codes, epoch seconds and rows of texts."""

    users: np.ndarray
    times: np.ndarray
    texts: np.ndarray

    def first_after(self, users: np.ndarray, query_times: np.ndarray) -> np.ndarray:
        """Where a person's events strictly after a moment begin: int64 (n,)."""
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
    """Pairs of events before the `cut` (exclusive) and of documents as of anchors up to it.

    An item is paired with the next `following` positive items of the same person, a document (D_l and D_s) with those
    strictly after its anchor, all at most `within_days` later. A pair counts once a person, a text never goes with
    itself. Of more than `max_pairs` a sample is drawn by `seed`, half of it documents where there are so many: they are
    few beside the items, and it is them that are asked with. Raises AdaptationError when no item has a text, or
    nobody took up two.
    """
    texts_by_item = item_texts(items)
    if not any(texts_by_item):
        raise AdaptationError(f"none of the {len(items)} items has a text: ingest items with titles or descriptions")
    past_interests = interests[interests[Columns.AS_OF] <= cut]
    documents = [text for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT) for text in past_interests[name]]
    texts = [text for text in dict.fromkeys([*texts_by_item, *documents]) if text]
    rows = {text: row for row, text in enumerate(texts)}
    text_row = {item: rows[text] for item, text in zip(items[Columns.ITEM], texts_by_item, strict=True) if text}

    past = events[(events[Columns.OCCURRED_AT] < cut) & events[Columns.ITEM].isin(text_row)]
    past = past[signals(past, event_settings) > 0]
    users, user_ids = pd.factorize(past[Columns.USER], sort=True)
    times = epoch_seconds(past[Columns.OCCURRED_AT])
    order = np.lexsort((times, users))
    positives = _PositiveEvents(users[order], times[order], past[Columns.ITEM].map(text_row).to_numpy(np.int64)[order])
    item_pairs = _next_positives(
        positives, np.arange(len(past)) + 1, positives.users, positives.times, positives.texts, settings
    )
    document_pairs = np.concatenate([*_document_pairs(positives, past_interests, pd.Index(user_ids), rows, settings)])
    pairs = _sample(_deduplicate(item_pairs), _deduplicate(document_pairs), settings.max_pairs, seed)
    if not len(pairs):
        raise AdaptationError(
            f"no pair in {len(past)} positive events before {cut}: nobody took up two items with different texts "
            f"within {settings.within_days:g} days; raise DUOTEMPO_ADAPTATION__WITHIN_DAYS or ingest more events"
        )
    return Pairs(texts, queries=pairs[:, 1], positives=pairs[:, 2], users=pairs[:, 0])


def split_validation(pairs: Pairs, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to learn from, and those of a `share` of the people, at least one, to judge by.

    Raises AdaptationError when either side would be empty, or there is but one item to learn.
    """
    users = np.random.default_rng(seed).permutation(np.unique(pairs.users))
    chosen = np.isin(pairs.users, users[: max(1, round(share * len(users)))])
    training, validation = pairs.take(np.flatnonzero(~chosen)), pairs.take(np.flatnonzero(chosen))
    if len(np.unique(training.positives)) < 2:
        raise AdaptationError(
            f"{len(pairs)} pairs of {len(users)} people leave too little to learn from once some are held out: "
            "it needs two people and two items at least; raise DUOTEMPO_ADAPTATION__WITHIN_DAYS or ingest more events"
        )
    return training, validation


def _document_pairs(
    positives: _PositiveEvents,
    past_interests: pd.DataFrame,
    user_ids: pd.Index,
    rows: dict[str, int],
    settings: AdaptationSettings,
) -> Iterator[np.ndarray]:
    users = user_ids.get_indexer(pd.Index(past_interests[Columns.USER]))
    query_times = epoch_seconds(past_interests[Columns.AS_OF])
    for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT):
        texts = past_interests[name].map(rows).fillna(-1).to_numpy(np.int64)
        useful = (users >= 0) & (texts >= 0)
        starts = positives.first_after(users[useful], query_times[useful])
        yield _next_positives(positives, starts, users[useful], query_times[useful], texts[useful], settings)


def _next_positives(
    positives: _PositiveEvents,
    starts: np.ndarray,
    users: np.ndarray,
    query_times: np.ndarray,
    texts: np.ndarray,
    settings: AdaptationSettings,
) -> np.ndarray:
    """(person, query, positive) of n queries and the next events from `starts` (n,) on: int64 (pairs, 3)."""
    pairs = [np.empty((0, 3), np.int64)]
    for step in range(settings.following):
        open_queries = np.flatnonzero(starts + step < len(positives.users))
        at = starts[open_queries] + step
        late = positives.times[at] - query_times[open_queries] > settings.within_days * SECONDS_A_DAY
        good = (positives.users[at] == users[open_queries]) & ~late
        pairs.append(np.column_stack([users[open_queries], texts[open_queries], positives.texts[at]])[good])
    return np.concatenate(pairs)


def _deduplicate(pairs: np.ndarray) -> np.ndarray:
    """Each (person, query, positive) once, without those of a text with itself."""
    return np.unique(pairs[pairs[:, 1] != pairs[:, 2]], axis=0)


def _sample(item_pairs: np.ndarray, document_pairs: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """At most `limit` rows of both, half of each unless one is short of them."""
    random = np.random.default_rng(seed)
    documents = min(len(document_pairs), max(limit // 2, limit - len(item_pairs)))
    items = min(len(item_pairs), limit - documents)
    return np.concatenate(
        [
            pairs[np.sort(random.choice(len(pairs), size, replace=False))]
            for pairs, size in ((item_pairs, items), (document_pairs, documents))
        ]
    )
