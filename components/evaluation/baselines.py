"""Baselines: popularity, and item-kNN, EASE and ALS (the peers), fitted on the same data."""

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

from components.histories.signals import RECENT_SECONDS


class Popularity:
    """Number of distinct users with an event on the item before a given time, within the last `period` seconds.

    Items without a user score -inf and are not ranked.
    """

    name = "popularity"
    period = np.inf

    def fit(self, users: NDArray[Any], items: NDArray[np.int64], times: NDArray[np.float64], n_items: int) -> Self:
        """
        Args:
            users: User ids or codes (events,).
            items: Item rows (events,).
            times: Epoch seconds (events,).
            n_items: Size of the catalogue.
        """
        _, codes = np.unique(users, return_inverse=True)
        pairs = codes.astype(np.int64) * n_items + items
        order = np.lexsort((times, pairs))
        pairs, begins = pairs[order], times[order]
        same_pair = np.append(pairs[1:] == pairs[:-1], False)
        # an event counts for its (user, item) pair until the pair's next event or the end of the period
        replaced = np.where(same_pair, np.append(begins[1:], np.inf), np.inf)
        self._items, self._begins, self._ends = items[order], begins, np.minimum(replaced, begins + self.period)
        self._latest = ~same_pair
        self._n_items = n_items
        return self

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Users per item (moments, items) at times in epoch seconds, from events in [moment - period, moment)."""
        order = np.argsort(moments, kind="stable")
        counts = self._changes(self._begins, moments[order]) - self._changes(self._ends, moments[order])
        np.cumsum(counts, axis=0, out=counts)
        in_order = np.empty_like(counts)
        in_order[order] = counts
        return _unseen_to_minus_inf(in_order)

    def final_scores(self) -> NDArray[np.float32]:
        """Users per item (items,) over all events, the period ending with the last event, both ends inclusive."""
        since = self._begins.max() - self.period
        counted = self._items[self._latest & (self._begins >= since)]
        return _unseen_to_minus_inf(np.bincount(counted, minlength=self._n_items))

    def _changes(self, event_times: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number of events per item between each of the sorted moments and the one before (moments, items)."""
        first = np.searchsorted(moments, event_times, side="right")
        is_seen = first < len(moments)
        cells = first[is_seen] * self._n_items + self._items[is_seen]
        return np.bincount(cells, minlength=len(moments) * self._n_items).reshape(len(moments), self._n_items)


class RecentPopularity(Popularity):
    """Popularity in the last seven days."""

    name = "recent popularity"
    period = RECENT_SECONDS


def _unseen_to_minus_inf(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where(counts > 0, counts, -np.inf).astype(np.float32)


def interaction_matrix(users: NDArray[np.int64], items: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Binary float32 matrix of `shape` (users, items) from codes (events,); duplicates count once."""
    matrix = sparse.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


class Peer(ABC):
    """A collaborative baseline, fitted on the items with a training event; all others score -inf."""

    name: ClassVar[str]

    def fit(self, users: NDArray[Any], items: NDArray[np.int64], n_items: int) -> Self:
        """
        Args:
            users: User ids or codes (events,), in order of time; the last event of a (user, item) pair counts.
            items: Item rows (events,).
            n_items: Size of the catalogue.
        """
        pairs = pd.DataFrame({"user": users, "item": items}).drop_duplicates(keep="last")
        rows, self._users = pd.factorize(pairs["user"])
        columns, self._items = pd.factorize(pairs["item"].to_numpy())
        self._n_items = n_items
        self._fit(interaction_matrix(rows, columns, (len(self._users), len(self._items))))
        return self

    def scores(self, histories: sparse.csr_matrix, users: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Scores (batch, items).

        Args:
            histories: Binary matrix (batch, items).
            users: Ids (batch,) as in `fit`, if the histories are those of the training. A model with fitted user
                factors then uses them; other users are folded in by history.
        """
        fitted_rows = (
            np.full(histories.shape[0], -1) if users is None else pd.Index(self._users).get_indexer(pd.Index(users))
        )
        scores = np.full((histories.shape[0], self._n_items), -np.inf, dtype=np.float32)
        scores[:, self._items] = self._scores(histories[:, self._items].tocsr().astype(np.float32), fitted_rows)
        return scores

    @abstractmethod
    def _fit(self, interactions: sparse.csr_matrix) -> None: ...

    @abstractmethod
    def _scores(self, histories: sparse.csr_matrix, fitted_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """
        Args:
            histories: Binary matrix (batch, fitted items).
            fitted_rows: Row of each user in the fitted matrix (batch,), -1 for one to be folded in by history.
        """


class ItemKnn(Peer):
    """Item-kNN: cosine of TF-IDF weighted item columns, 100 neighbours per item (implicit's TFIDFRecommender)."""

    name = "itemknn"
    neighbours = 100

    def _fit(self, interactions: sparse.csr_matrix) -> None:
        from implicit.nearest_neighbours import TFIDFRecommender

        model = TFIDFRecommender(K=self.neighbours)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Method expects CSR input")  # of implicit's own COO matrix
            model.fit(interactions, show_progress=False)
        self._similarity: sparse.csr_matrix = model.similarity

    def _scores(self, histories: sparse.csr_matrix, fitted_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        scores = (histories @ self._similarity).toarray()
        scores[scores == 0] = -np.inf
        return scores


class Ease(Peer):
    """EASE (Steck 2019), P = (X'X + λI)⁻¹; needs a dense matrix (items, items).

    The paper scores item j by the sum of -P_ij / P_jj over the history. This follows RecTools, which divides by P_ii
    instead, as that reproduces the published figures.
    """

    name = "ease"
    regularization = 300.0

    def _fit(self, interactions: sparse.csr_matrix) -> None:
        gram = (interactions.T @ interactions).toarray()
        gram[np.diag_indices_from(gram)] += self.regularization
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
        # LAPACK returns column-major order; the transpose of a symmetric matrix is itself, in row-major order
        self._weights = np.ascontiguousarray(inverse.T)
        self._weights /= -np.diag(inverse).copy()[:, None]
        np.fill_diagonal(self._weights, 0.0)

    def _scores(self, histories: sparse.csr_matrix, fitted_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        return histories @ self._weights


class Als(Peer):
    """Weighted matrix factorisation (Hu, Koren, Volinsky 2008), from implicit; new users are folded in by history."""

    name = "als"
    settings: ClassVar[dict[str, int]] = {"factors": 64, "iterations": 15, "random_state": 0}

    def _fit(self, interactions: sparse.csr_matrix) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        with threadpool_limits(1, "blas"):
            self._model: Any = AlternatingLeastSquares(**self.settings)
            self._model.fit(interactions, show_progress=False)

    def _scores(self, histories: sparse.csr_matrix, fitted_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        factors = self._model.user_factors[fitted_rows]
        if len(unfitted := np.flatnonzero(fitted_rows < 0)):
            with threadpool_limits(1, "blas"):
                factors[unfitted] = self._model.recalculate_user(np.arange(len(unfitted)), histories[unfitted])
        return factors @ self._model.item_factors.T


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (ItemKnn, Ease, Als)}
