"""The recommender's input for one user at one time, and its batched form."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class UserState:
    """A user's history, oldest event first, and the time of the request.

    Attributes:
        items: Item rows of the bundle (events,).
        times: Epoch seconds (events,), float64.
        signals: Signed event weights (events,), see `components.histories.signals`.
        now: Time of the request in epoch seconds.
        documents: LLM(D_l) and LLM(D_s) as (2, encoder dims); a zero row where one is missing, None without both.
    """

    items: NDArray[np.int64]
    times: NDArray[np.floating]
    signals: NDArray[np.float32]
    now: float
    documents: NDArray[np.float32] | None = None

    @property
    def is_cold(self) -> bool:
        """Whether this is a cold start: no event and no document."""
        return not len(self.items) and self.documents is None

    def continues(self, earlier: "UserState") -> bool:
        """Whether the earlier history is a prefix of this one."""
        length = len(earlier.items)
        return len(self.items) >= length and bool(
            (self.items[:length] == earlier.items).all() and (self.signals[:length] == earlier.signals).all()
        )


@dataclass(frozen=True)
class StateBatch:
    """A batch of states as left-padded arrays, the input of the user tower.

    Attributes:
        items: Item rows (batch, history).
        ages: Days before `now` (batch, history).
        signals: Signed event weights (batch, history); 0 is padding.
        documents: LLM(D_l) and LLM(D_s) (batch, 2, encoder dims).
        present: 1 where the document exists, else 0 (batch, 2).
    """

    items: NDArray[np.int64]
    ages: NDArray[np.float32]
    signals: NDArray[np.float32]
    documents: NDArray[np.float32]
    present: NDArray[np.float32]


SECONDS_A_DAY = 86_400.0


def collate(states: list[UserState], *, history: int, dimension: int) -> StateBatch:
    """Left-pads states to the longest history of the batch.

    Args:
        history: Maximum number of events kept per user, the newest ones.
        dimension: Encoder dimensions of the documents.
    """
    longest = max((len(state.items) for state in states), default=0)
    length = max(1, min(history, longest))
    items = np.zeros((len(states), length), dtype=np.int64)
    ages = np.zeros((len(states), length), dtype=np.float32)
    signals = np.zeros((len(states), length), dtype=np.float32)
    documents = np.zeros((len(states), 2, dimension), dtype=np.float32)
    present = np.zeros((len(states), 2), dtype=np.float32)
    for position, state in enumerate(states):
        if kept := min(len(state.items), length):
            items[position, -kept:] = state.items[-kept:]
            ages[position, -kept:] = np.maximum(state.now - state.times[-kept:], 0.0) / SECONDS_A_DAY
            signals[position, -kept:] = state.signals[-kept:]
        if state.documents is not None:
            documents[position] = state.documents
            present[position] = state.documents.any(axis=1)
    return StateBatch(items, ages, signals, documents, present)
