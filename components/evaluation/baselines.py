"""What every model is held against: popularity, and the models of others, fitted on the same data."""

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
    """Counts the people with an event of an item before a moment; with a period, within that many seconds before it.

    A person counts once an item. An item that nobody has is not ranked: its score is -inf.
    """

    name = "popularity"
    period = np.inf

    def fit(self, users: NDArray[Any], items: NDArray[np.int64], times: NDArray[np.float64], n_items: int) -> Self:
        """users: any codes or ids (E,); items: item rows from 0 (E,); times: epoch seconds (E,)."""
        _, codes = np.unique(users, return_inverse=True)
        pairs = codes.astype(np.int64) * n_items + items
        order = np.lexsort((times, pairs))
        pairs, begins = pairs[order], times[order]
        same_pair = np.append(pairs[1:] == pairs[:-1], False)
        # an event speaks for its pair until the pair's next event, or until the period is over
        replaced = np.where(same_pair, np.append(begins[1:], np.inf), np.inf)
        self._items, self._begins, self._ends = items[order], begins, np.minimum(replaced, begins + self.period)
        self._latest = ~same_pair
        self._n_items = n_items
        return self

    def scores(self, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Counts float32 (B, n) as of each of `moments` (B,) in epoch seconds.

        An event at t counts when moment - period <= t < moment.
        """
        order = np.argsort(moments, kind="stable")
        counts = self._changes(self._begins, moments[order]) - self._changes(self._ends, moments[order])
        np.cumsum(counts, axis=0, out=counts)
        in_order = np.empty_like(counts)
        in_order[order] = counts
        return _unseen_to_minus_inf(in_order)

    def final_scores(self) -> NDArray[np.float32]:
        """Counts (n,) over all events, the period counted back from the last event, both ends included."""
        since = self._begins.max() - self.period
        counted = self._items[self._latest & (self._begins >= since)]
        return _unseen_to_minus_inf(np.bincount(counted, minlength=self._n_items))

    def _changes(self, event_times: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.int64]:
        """(B, n): changes that the b-th of the sorted moments is the first to see, being after them."""
        first = np.searchsorted(moments, event_times, side="right")
        is_seen = first < len(moments)
        cells = first[is_seen] * self._n_items + self._items[is_seen]
        return np.bincount(cells, minlength=len(moments) * self._n_items).reshape(len(moments), self._n_items)


class RecentPopularity(Popularity):
    """Popularity of the last seven days before the moment."""

    name = "recent popularity"
    period = RECENT_SECONDS


def _unseen_to_minus_inf(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where(counts > 0, counts, -np.inf).astype(np.float32)


def interaction_matrix(users: NDArray[np.int64], items: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Binary float32 matrix of `shape` (users, items) from codes (E,); a repeated pair counts once."""
    matrix = sparse.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


class Peer(ABC):
    """Learns from the items that have a training event; all others score -inf."""

    name: ClassVar[str]

    def fit(self, users: NDArray[Any], items: NDArray[np.int64], n_items: int) -> Self:
        """users: codes or ids (E,); items: item rows (E,); both in order of time, the last event of a pair counts."""
        pairs = pd.DataFrame({"user": users, "item": items}).drop_duplicates(keep="last")
        rows, self._users = pd.factorize(pairs["user"])
        columns, self._items = pd.factorize(pairs["item"].to_numpy())
        self._n_items = n_items
        self._fit(interaction_matrix(rows, columns, (len(self._users), len(self._items))))
        return self

    def scores(self, histories: sparse.csr_matrix, users: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Scores float32 (B, n) for binary histories (B, n).

        users: names (B,) as in `fit`, where the histories are no more than what was trained on: a peer that fitted
        something of a known user then takes it as it is.
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
        """known: row of the fitted matrix of each user, -1 for one who must be taken by the history alone."""


class ItemKnn(Peer):
    """Cosine of TF-IDF weighted item columns, the 100 nearest of an item kept (implicit's TFIDFRecommender)."""

    name = "itemknn"
    neighbours = 100

    def _fit(self, interactions: sparse.csr_matrix) -> None:
        from implicit.nearest_neighbours import TFIDFRecommender

        model = TFIDFRecommender(K=self.neighbours)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Method expects CSR input")  # of the library's own COO
            model.fit(interactions, show_progress=False)
        self._similarity: sparse.csr_matrix = model.similarity

    def _scores(self, histories: sparse.csr_matrix, fitted_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        scores = (histories @ self._similarity).toarray()
        scores[scores == 0] = -np.inf
        return scores


class Ease(Peer):
    """EASE (Steck 2019), P = (X'X + λI)⁻¹; holds a dense (items, items) matrix.

    The paper scores item j by the sum over the history of -P_ij / P_jj; RecTools takes its weights the other way round,
    -P_ij / P_ii, which is what the published figures show, and so does this.
    """

    name = "ease"
    regularization = 300.0

    def _fit(self, interactions: sparse.csr_matrix) -> None:
        gram = (interactions.T @ interactions).toarray()
        gram[np.diag_indices_from(gram)] += self.regularization
        inverse = linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
        # LAPACK answers in column order; of a symmetric matrix the transpose is the same in row order
        self._weights = np.ascontiguousarray(inverse.T)
        self._weights /= -np.diag(inverse).copy()[:, None]
        np.fill_diagonal(self._weights, 0.0)

    def _scores(self, histories: sparse.csr_matrix, fitted_rows: NDArray[np.int64]) -> NDArray[np.floating]:
        return histories @ self._weights


class Als(Peer):
    """Weighted matrix factorisation (Hu, Koren, Volinsky 2008) by implicit; other users are folded in by history."""

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
