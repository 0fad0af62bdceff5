"""Explanations of recommendations, from the parts of the score and leave-one-out scores of history items."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.arrays.sparse import row_entries, select_rows, take_columns, weighted_rows
from components.bundle.bundle import Bundle
from components.histories.states import SECONDS_A_DAY, UserState
from components.interests.profile import Keywords, listed_categories, strongest
from components.ranking.scorer import PARTS, Query, Scorer, Scores, Strategy
from components.settings import InterestSettings

SHARES = ("long", "short", "content", "collaborative", "popularity")
"""Parts of a score that an explanation reports."""
MAX_EXAMINED = 24
"""Maximum history items tested by leave-one-out."""
MAX_REASONS = 3
"""Maximum history items named per explanation."""
MIN_CONTRIBUTION = 1e-6
"""Minimum drop of the score for a reason; smaller ones are rounding errors."""
MAX_TERMS = 5
"""Maximum keywords, and categories, per explanation."""
MAX_PROFILE_TERMS = 50
TREND_QUANTILE = 0.9
"""Quantile of the trend scores from which on an item counts as trending."""


@dataclass(frozen=True)
class Profile:
    """The long-term and short-term interests of a user as (term, weight), by descending weight."""

    long_keywords: list[tuple[str, float]]
    long_categories: list[tuple[str, float]]
    short_keywords: list[tuple[str, float]]
    short_categories: list[tuple[str, float]]

    def long_terms(self, count: int = 2 * MAX_TERMS) -> list[str]:
        """The strongest long-term categories and keywords."""
        return _merged(self.long_categories, self.long_keywords, count)

    def short_terms(self, count: int = 2 * MAX_TERMS) -> list[str]:
        """The strongest short-term categories and keywords."""
        return _merged(self.short_categories, self.short_keywords, count)


class ItemDisplay(Protocol):
    """Title and categories of an item as displayed."""

    @property
    def title(self) -> str: ...
    @property
    def category(self) -> list[str]: ...


@dataclass(frozen=True)
class _BundleItem:
    title: str
    category: list[str]


class Explainer:
    """Explains recommendations of one bundle."""

    def __init__(
        self,
        scorer: Scorer,
        settings: InterestSettings,
        shown: Callable[[int], ItemDisplay] | None = None,
        moved: Mapping[int, Collection[str]] | None = None,
    ) -> None:
        """
        Args:
            shown: Current title and categories of an item row; by default those of the bundle.
            moved: Current categories of the rows whose categories may differ from the bundle.
        """
        self._scorer = scorer
        self._shown = shown or self._from_bundle
        self._moved = {} if moved is None else moved
        self._bundle: Bundle = scorer.bundle
        self._settings = settings
        self._keywords = Keywords(self._bundle.keywords, self._bundle.terms)
        self._half_life = float(self._bundle.manifest["half_life_days"])
        self._categories = listed_categories(self._bundle.items["category"])

    def profile(self, state: UserState, count: int = MAX_PROFILE_TERMS) -> Profile:
        """The user's interests as terms, at most `count` of each kind.

        Long-term terms are decayed over the whole history. Short-term terms come from the recent window, or from the
        latest events if it is empty, like the short-term interest itself.
        """
        recent = state.times >= state.now - self._settings.short_days * SECONDS_A_DAY
        if not recent.any():
            recent[:] = True
        recent[: -self._settings.short_items] = False
        factors = np.stack([self._decay(state), recent]) * state.signals
        long_keywords, short_keywords = _terms(state.items, factors, self._keywords, count)
        long_categories, short_categories = self._category_terms(state.items, factors, count)
        return Profile(long_keywords, long_categories, short_keywords, short_categories)

    def why(self, rows: NDArray[np.int64], state: UserState, query: Query) -> list[dict[str, object]]:
        """Explains recommended items.

        Args:
            rows: Distinct item rows to explain (k,).
            query: The scorer's query of this state alone.

        Returns:
            One object per item: shares of the score's parts, contributing history items, matching keywords and
            categories, whether it is trending, cosine of its text and the user's content profile, and a sentence.
        """
        if not len(rows):
            return []
        scores = self._scorer.answer(query, rows)
        contributions = self._contributions(rows, state, scores, query)
        profile = self.profile(state)
        keywords = {term for term, _ in profile.long_keywords + profile.short_keywords}
        categories = {name for name, _ in profile.long_categories + profile.short_categories}
        trending = self._trending(state)
        text_similarity = self._bundle.texts[rows] @ self._scorer.content_profile([state])[0]
        explanations = []
        for position, row in enumerate(rows):
            shares = _shares({name: float(scores.parts[name][0, position]) for name in PARTS[query.strategy]})
            because = [
                {
                    "item_id": str(self._bundle.items["item_id"][item].as_py()),
                    "title": self._shown(item).title,
                    "contribution": round(float(fall), 6),
                }
                for item, fall in contributions[position]
            ]
            words = [term for term in _row_terms(self._keywords, row) if term in keywords]
            names = [name for name in sorted(set(self._shown(int(row)).category)) if name in categories]
            trend = bool(trending[row])
            text = sentence(shares, [self._shown(item).title for item, _ in contributions[position]], names, trend)
            explanations.append(
                {**shares, "because": because, "keywords": words[:MAX_TERMS], "categories": names[:MAX_TERMS],
                 "trend": trend, "text_similarity": round(float(text_similarity[position]), 4), "text": text}
            )  # fmt: skip
        return explanations

    def _trending(self, state: UserState) -> NDArray[np.bool_]:
        """Whether each item is trending (items,): above the minimum and in the top of the trend scores."""
        scores = self._scorer.trend.scores(np.array([state.now]))[0]
        return (scores > scores.min()) & (scores >= np.quantile(scores, TREND_QUANTILE))

    def _contributions(
        self, rows: NDArray[np.int64], state: UserState, scores: Scores, query: Query
    ) -> list[list[tuple[int, float]]]:
        """For each row the history items whose removal lowers its score most, with the drop (leave-one-out)."""
        history = self._examined(rows, state, query.strategy)
        if not len(history):
            return [[] for _ in rows]
        states = [_without(item, state) for item in history]
        without = self._scorer.query(states, query.strategy, query.among)
        falls = scores.total[0] - self._scorer.answer(without, rows).total
        contributions = []
        for position in range(len(rows)):
            order = np.argsort(-falls[:, position], kind="stable")[:MAX_REASONS]
            contributions.append(
                [(int(history[i]), float(falls[i, position])) for i in order if falls[i, position] >= MIN_CONTRIBUTION]
            )
        return contributions

    def _examined(self, rows: NDArray[np.int64], state: UserState, strategy: Strategy) -> NDArray[np.int64]:
        """History items most likely to contribute, by (cosine + neighbour weight) times decayed signal."""
        items = np.unique(state.items)
        if len(items) <= MAX_EXAMINED:
            return items
        strength = self._sums(state, self._decay(state))
        vectors = self._bundle.texts if strategy == "content" else self._bundle.vectors
        similarity = _cosines(vectors[items], vectors[rows])
        similarity += take_columns(select_rows(self._bundle.neighbours, items), rows)
        order = np.argsort(-(similarity * strength[:, None]).max(axis=1), kind="stable")
        return items[order[:MAX_EXAMINED]]

    def _decay(self, state: UserState) -> NDArray[np.float64]:
        ages = np.maximum(state.now - state.times, 0.0) / SECONDS_A_DAY
        return np.asarray(np.exp2(-ages / self._half_life))

    def _sums(self, state: UserState, factors: NDArray[np.floating]) -> NDArray[np.number]:
        """Sum of signal times factor (events,) per distinct history item, in order of item row."""
        _, inverse = np.unique(state.items, return_inverse=True)
        return np.bincount(inverse, weights=state.signals * factors)

    def _category_terms(
        self, items: NDArray[np.int64], factors: NDArray[np.floating], count: int
    ) -> list[list[tuple[str, float]]]:
        if not self._moved or self._moved.keys().isdisjoint(items.tolist()):
            return _terms(items, factors, self._categories, count)
        rows, inverse = np.unique(items, return_inverse=True)
        now = pa.array([self._shown(row).category for row in rows.tolist()], pa.list_(pa.string()))
        return _terms(inverse, factors, listed_categories(pa.chunked_array([now])), count)

    def _from_bundle(self, row: int) -> ItemDisplay:
        title, category = (self._bundle.items[column][row].as_py() for column in ("title", "category"))
        return _BundleItem(str(title), category)


def sentence(shares: dict[str, float], because: list[str], categories: list[str], trend: bool) -> str:
    """The explanation as one sentence, chosen by the largest share."""
    main = max(shares, key=lambda name: shares[name])
    if main == "popularity" or not any(shares.values()):
        return "Many people want it lately." if trend else "Many people like it."
    tempo = {
        "long": "Fits what you have liked for long",
        "short": "Fits what you are into right now",
        "content": "Reads like what you liked",
        "collaborative": "It often follows what you had",
    }[main]
    matching = f" ({', '.join(categories[:2])})" if categories else ""
    named = f", because of {' and '.join(because[:2])}" if because else ""
    return f"{tempo}{matching}{named}."


def _cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines (l, r) of vectors (l, dims) and (r, dims)."""
    lengths = [np.maximum(np.linalg.norm(side, axis=1), 1e-9) for side in (left, right)]
    return left @ right.T / lengths[0][:, None] / lengths[1]


def _terms(
    items: NDArray[np.int64], factors: NDArray[np.floating], keywords: Keywords, count: int
) -> list[list[tuple[str, float]]]:
    """The `count` strongest terms of the items (events,), for each row of factors (n, events)."""
    sums_by_factor = weighted_rows(keywords.matrix, items, factors)
    terms = []
    for row in range(len(factors)):
        columns, sums = row_entries(sums_by_factor, row)
        best = strongest(sums, count)
        pairs = zip(columns[best].tolist(), sums[best].tolist(), strict=True)
        terms.append([(keywords.terms[name], weight) for name, weight in pairs])
    return terms


def _row_terms(keywords: Keywords, row: int) -> list[str]:
    """The terms of one item by descending weight."""
    start, end = keywords.matrix.indptr[row], keywords.matrix.indptr[row + 1]
    order = np.argsort(-keywords.matrix.data[start:end], kind="stable")
    return [keywords.terms[column] for column in keywords.matrix.indices[start:end][order]]


def _without(item: int, state: UserState) -> UserState:
    kept = state.items != item
    return UserState(state.items[kept], state.times[kept], state.signals[kept], state.now, state.documents)


def _shares(parts: dict[str, float]) -> dict[str, float]:
    """Share of each positive part in the sum of the positive parts; all 0 if there is none."""
    positive = {name: max(parts.get(name, 0.0), 0.0) for name in SHARES}
    total = sum(positive.values())
    return {name: round(value / total, 4) if total > 0 else 0.0 for name, value in positive.items()}


def _merged(first: list[tuple[str, float]], second: list[tuple[str, float]], count: int) -> list[str]:
    """Up to half of the terms from `first`, the rest from `second`, without case-insensitive duplicates."""
    terms: dict[str, str] = {}
    for term, _ in first[: count // 2] + second:
        if len(terms) == count:
            break
        terms.setdefault(term.casefold(), term)
    return list(terms.values())
