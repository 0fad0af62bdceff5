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
    people: np.ndarray

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, rows: np.ndarray) -> "Pairs":
        """The pairs of these rows; all texts stay."""
        return Pairs(self.texts, self.queries[rows], self.positives[rows], self.people[rows])

    def related(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Whether a candidate is a positive of the query or its very text, so no negative: bool (q, c)."""
        codes = queries[:, None] * len(self.texts) + candidates
        return np.isin(codes, self._codes) | (queries[:, None] == candidates)

    @cached_property
    def _codes(self) -> np.ndarray:
        return np.unique(self.queries * len(self.texts) + self.positives)


@dataclass(frozen=True)
class _Takings:
    """Positive events of items with text, by person and then by time: person codes, epoch seconds and rows of texts."""

    people: np.ndarray
    times: np.ndarray
    texts: np.ndarray

    def after(self, people: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Where a person's events strictly after a moment begin: int64 (n,)."""
        starts = np.searchsorted(self.people, people)
        ends = np.searchsorted(self.people, people, side="right")
        spans = zip(starts, ends, moments, strict=True)
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
    named = item_texts(items)
    if not any(named):
        raise AdaptationError(f"none of the {len(items)} items has a text: ingest items with titles or descriptions")
    written = interests[interests[Columns.AS_OF] <= cut]
    documents = [text for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT) for text in written[name]]
    texts = [text for text in dict.fromkeys([*named, *documents]) if text]
    rows = {text: row for row, text in enumerate(texts)}
    text_of = {item: rows[text] for item, text in zip(items[Columns.ITEM], named, strict=True) if text}

    past = events[(events[Columns.OCCURRED_AT] < cut) & events[Columns.ITEM].isin(text_of)]
    past = past[signals(past, event_settings) > 0]
    people, known = pd.factorize(past[Columns.USER], sort=True)
    times = epoch_seconds(past[Columns.OCCURRED_AT])
    order = np.lexsort((times, people))
    taken = _Takings(people[order], times[order], past[Columns.ITEM].map(text_of).to_numpy(np.int64)[order])
    of_items = _follow(taken, np.arange(len(past)) + 1, taken.people, taken.times, taken.texts, settings)
    of_documents = np.concatenate([*_documents(taken, written, pd.Index(known), rows, settings)])
    found = _draw(_distinct(of_items), _distinct(of_documents), settings.max_pairs, seed)
    if not len(found):
        raise AdaptationError(
            f"no pair in {len(past)} positive events before {cut}: nobody took up two items with different texts "
            f"within {settings.within_days:g} days; raise DUOTEMPO_ADAPTATION__WITHIN_DAYS or ingest more events"
        )
    return Pairs(texts, queries=found[:, 1], positives=found[:, 2], people=found[:, 0])


def hold_out(pairs: Pairs, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to learn from, and those of a `share` of the people, at least one, to judge by.

    Raises AdaptationError when either side would be empty, or there is but one item to learn.
    """
    people = np.random.default_rng(seed).permutation(np.unique(pairs.people))
    chosen = np.isin(pairs.people, people[: max(1, round(share * len(people)))])
    learned, judged = pairs.take(np.flatnonzero(~chosen)), pairs.take(np.flatnonzero(chosen))
    if len(np.unique(learned.positives)) < 2:
        raise AdaptationError(
            f"{len(pairs)} pairs of {len(people)} people leave too little to learn from once some are held out: "
            "it needs two people and two items at least; raise DUOTEMPO_ADAPTATION__WITHIN_DAYS or ingest more events"
        )
    return learned, judged


def _documents(
    taken: _Takings, written: pd.DataFrame, known: pd.Index, rows: dict[str, int], settings: AdaptationSettings
) -> Iterator[np.ndarray]:
    people = known.get_indexer(pd.Index(written[Columns.USER]))
    moments = epoch_seconds(written[Columns.AS_OF])
    for name in (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT):
        texts = written[name].map(rows).fillna(-1).to_numpy(np.int64)
        useful = (people >= 0) & (texts >= 0)
        starts = taken.after(people[useful], moments[useful])
        yield _follow(taken, starts, people[useful], moments[useful], texts[useful], settings)


def _follow(
    taken: _Takings,
    starts: np.ndarray,
    people: np.ndarray,
    moments: np.ndarray,
    texts: np.ndarray,
    settings: AdaptationSettings,
) -> np.ndarray:
    """(person, query, positive) of n queries and the next events from `starts` (n,) on: int64 (pairs, 3)."""
    found = [np.empty((0, 3), np.int64)]
    for step in range(settings.following):
        here = np.flatnonzero(starts + step < len(taken.people))
        at = starts[here] + step
        late = taken.times[at] - moments[here] > settings.within_days * SECONDS_A_DAY
        good = (taken.people[at] == people[here]) & ~late
        found.append(np.column_stack([people[here], texts[here], taken.texts[at]])[good])
    return np.concatenate(found)


def _distinct(found: np.ndarray) -> np.ndarray:
    """Each (person, query, positive) once, without those of a text with itself."""
    return np.unique(found[found[:, 1] != found[:, 2]], axis=0)


def _draw(of_items: np.ndarray, of_documents: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """At most `limit` rows of both, half of each unless one is short of them."""
    random = np.random.default_rng(seed)
    documents = min(len(of_documents), max(limit // 2, limit - len(of_items)))
    items = min(len(of_items), limit - documents)
    return np.concatenate(
        [
            found[np.sort(random.choice(len(found), size, replace=False))]
            for found, size in ((of_items, items), (of_documents, documents))
        ]
    )
