"""What the recommender knows of one user at one moment."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class UserState:
    """A user's history as rows of the bundle, oldest first, and the moment of the request.

    items: int64 (h,) rows; times: float64 (h,) epoch seconds; signals: float32 (h,) signed strengths; now: epoch
    seconds; documents: float32 (2, e), LLM(D_l) and LLM(D_s), a zero row being absent, or None.
    """

    items: NDArray[np.int64]
    times: NDArray[np.floating]
    signals: NDArray[np.float32]
    now: float
    documents: NDArray[np.float32] | None = None

    @property
    def blank(self) -> bool:
        """Whether nothing is known that an interest could be read from."""
        return not len(self.items) and self.documents is None

    def continues(self, earlier: "UserState") -> bool:
        """Whether this history begins with all of the earlier one."""
        length = len(earlier.items)
        return len(self.items) >= length and bool(
            (self.items[:length] == earlier.items).all() and (self.signals[:length] == earlier.signals).all()
        )


@dataclass(frozen=True)
class StateBatch:
    """Left-padded arrays of a batch of states, as the user tower reads them.

    items, ages (days before now), signals (0 = padding): (B, H); documents: (B, 2, e); present: (B, 2).
    """

    items: NDArray[np.int64]
    ages: NDArray[np.float32]
    signals: NDArray[np.float32]
    documents: NDArray[np.float32]
    present: NDArray[np.float32]


SECONDS_A_DAY = 86_400.0


def collate(states: list[UserState], *, history: int, dimension: int) -> StateBatch:
    """Pads states to one length, that of the longest, at most `history`, the newest events kept."""
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
