"""Builds the interests frame: interests and documents of many users, as of their anchors."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from components.arrays.sparse import Csr
from components.core.columns import Columns
from components.interests.documents import document_long, document_short
from components.interests.history import Histories, LongTerm, ShortTerm, long_term, short_term
from components.interests.keywords import tokenize
from components.interests.profile import Keywords, item_categories, strongest
from components.settings import EventSettings, InterestSettings

FIRST_ANCHOR, ANCHOR_GROWTH = 8, 4
"""Event number of the first anchor, and the factor to the next."""
N_FAVOURITES = 8
N_TEXTS = 3
BATCH_SIZE = 4096


def anchors(events: pd.DataFrame, cut: pd.Timestamp, per_user: int) -> pd.DataFrame:
    """The anchors of every user with an event before the cut.

    A user's anchors are the times of events number 8, 32, 128, 512, ... (the last `per_user` of them) and the cut.
    They do not move when the history grows, so cached document vectors stay valid.

    Args:
        events: Events frame.
        cut: Exclusive end of the events, and the last anchor.
        per_user: Maximum number of anchors per user besides the cut.

    Returns:
        DataFrame[user_id, as_of], sorted; `as_of` is exclusive.
    """
    cut = pd.Timestamp(cut)
    past = events.loc[events[Columns.OCCURRED_AT] < cut, [Columns.USER, Columns.OCCURRED_AT]]
    past = past.sort_values([Columns.USER, Columns.OCCURRED_AT])
    number = past.groupby(Columns.USER).cumcount() + 1
    milestones = past[number.isin(_milestones(len(past)))].groupby(Columns.USER).tail(per_user)
    ends = pd.DataFrame({Columns.USER: past[Columns.USER].unique()}).assign(**{Columns.OCCURRED_AT: cut})
    ends[Columns.OCCURRED_AT] = ends[Columns.OCCURRED_AT].astype(past[Columns.OCCURRED_AT].dtype)
    result = pd.concat([milestones, ends]).drop_duplicates().sort_values([Columns.USER, Columns.OCCURRED_AT])
    return result.rename(columns={Columns.OCCURRED_AT: Columns.AS_OF}).reset_index(drop=True)


def _milestones(limit: int) -> list[int]:
    milestones = [FIRST_ANCHOR]
    while milestones[-1] < limit:
        milestones.append(milestones[-1] * ANCHOR_GROWTH)
    return milestones


def build_interests(
    events: pd.DataFrame,
    items: pd.DataFrame,
    anchors: pd.DataFrame,
    keywords: Keywords,
    settings: InterestSettings,
    event_settings: EventSettings,
) -> pd.DataFrame:
    """The interests frame: one row per row of `anchors`, in order, from the events strictly before its `as_of`.

    long_items is newest first, short_items oldest first; both hold distinct items with a positive total signal.
    long_keywords leaves out words of category names, which long_categories lists. Both documents are empty for users
    with fewer than `document_events` events.

    Args:
        keywords: One row per row of `items`.

    Raises:
        ValueError: An event has an unknown item or kind, or `keywords` does not match `items`.
    """
    if keywords.matrix.shape[0] != len(items):
        raise ValueError(f"{keywords.matrix.shape[0]} rows of keywords for {len(items)} items: extract them again")
    histories = Histories(events, pd.Index(items[Columns.ITEM]), anchors, event_settings)
    writer = _RowWriter(items, keywords, settings)
    batches = (range(start, min(start + BATCH_SIZE, len(histories))) for start in range(0, len(histories), BATCH_SIZE))
    rows = [row for batch in batches for row in writer.rows(histories, batch)]
    columns = [
        Columns.LONG_KEYWORDS, Columns.LONG_CATEGORIES, Columns.LONG_ITEMS, Columns.SHORT_ITEMS,
        Columns.SHORT_KEYWORDS, Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT,
    ]  # fmt: skip
    written = pd.DataFrame(rows, columns=columns)
    return pd.concat([anchors[[Columns.USER, Columns.AS_OF]].reset_index(drop=True), written], axis=1)


class _RowWriter:
    """Turns histories into rows of the interests frame."""

    def __init__(self, items: pd.DataFrame, keywords: Keywords, settings: InterestSettings) -> None:
        self._settings = settings
        self._ids = items[Columns.ITEM].to_numpy(dtype=object)
        self._titles = items[Columns.TITLE].astype(object).fillna("").to_numpy(dtype=object)
        self._keywords = keywords
        self._categories = item_categories(items)
        category_words = {word for name in self._categories.terms for word in tokenize(name)}
        not_in_category = np.flatnonzero([term not in category_words for term in keywords.terms])
        self._long_keywords = Keywords(
            _as_scipy(keywords.matrix)[:, not_in_category], [keywords.terms[column] for column in not_in_category]
        )

    def rows(self, histories: Histories, anchors: range) -> list[tuple[list[str] | str, ...]]:
        """The columns long_keywords to document_short for each of the anchors."""
        chosen = self._settings
        pasts = [histories[anchor] for anchor in anchors]
        longs = [long_term(past, chosen.half_life_days, N_FAVOURITES, N_TEXTS) for past in pasts]
        shorts = [short_term(past, chosen.short_days, chosen.short_items, N_TEXTS) for past in pasts]
        categories = _top(longs, self._categories, chosen.long_categories)
        long_keywords = _top(longs, self._long_keywords, chosen.long_keywords)
        short_keywords = _top(shorts, self._keywords, chosen.short_keywords)
        interests = zip(longs, shorts, categories, long_keywords, short_keywords, strict=True)
        has_documents = [len(past.items) >= chosen.document_events for past in pasts]
        return [
            self._row(has_documents, *interest)
            for has_documents, interest in zip(has_documents, interests, strict=True)
        ]

    def _row(
        self,
        has_documents: bool,
        long: LongTerm,
        short: ShortTerm,
        categories: list[str],
        long_keywords: list[str],
        short_keywords: list[str],
    ) -> tuple[list[str] | str, ...]:
        recent = short.liked()
        return (
            long_keywords,
            categories,
            self._ids[long.liked(self._settings.long_items)].tolist(),
            self._ids[recent[::-1]].tolist(),
            short_keywords,
            document_long(categories, long_keywords, self._titles[long.favourites], long.texts)
            if has_documents
            else "",
            document_short(short_keywords, self._titles[recent], short.texts) if has_documents else "",
        )


def _top(interests: Sequence[LongTerm] | Sequence[ShortTerm], terms: Keywords, k: int) -> list[list[str]]:
    """The `k` strongest terms of each interest, computed with one sparse product."""
    ends = np.cumsum([0, *(len(interest.items) for interest in interests)])
    indices = np.concatenate([interest.items for interest in interests])
    weights = np.concatenate([interest.weights for interest in interests])
    user_items = sparse.csr_matrix((weights, indices, ends), shape=(len(interests), terms.matrix.shape[0]))
    profiles = (user_items @ _as_scipy(terms.matrix)).tocsr()
    profiles.sort_indices()
    slices = (slice(*profiles.indptr[row : row + 2]) for row in range(len(interests)))
    return [
        [terms.terms[column] for column in profiles.indices[part][strongest(profiles.data[part], k)]] for part in slices
    ]


def _as_scipy(matrix: Csr) -> sparse.csr_matrix:
    return sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
