"""Histories as arrays, and the windows that the training reads from them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.columns import Columns
from components.core.timestamps import epoch_seconds
from components.histories.signals import signals
from components.histories.states import SECONDS_A_DAY, UserState
from components.settings import EventSettings, FusionSettings


@dataclass(frozen=True)
class Documents:
    """Document vectors of users as of their anchors.

    users: (A,) ids; as_of: float64 (A,) epoch seconds; vectors: float32 (A, 2, e), LLM(D_l) and LLM(D_s), zero: none.
    """

    users: NDArray[Any]
    as_of: NDArray[np.float64]
    vectors: NDArray[np.float32]

    @classmethod
    def none(cls, dimension: int = 0) -> "Documents":
        """No document at all."""
        return cls(np.array([], dtype=object), np.array([]), np.zeros((0, 2, dimension), dtype=np.float32))

    def in_force(self, users: NDArray[Any], moments: NDArray[np.float64]) -> NDArray[np.int64]:
        """Row of the latest anchor strictly before each moment, -1 where a user has none: int64 (n,)."""
        if not len(self.users):
            return np.full(len(users), -1, dtype=np.int64)
        requests = pd.DataFrame(
            {"user": pd.Series(users, dtype="str"), "moment": moments, "order": np.arange(len(users))}
        )
        anchors = pd.DataFrame(
            {"user": pd.Series(self.users, dtype="str"), "moment": self.as_of, "row": np.arange(len(self.users))}
        )
        matches = pd.merge_asof(
            requests.sort_values("moment", kind="stable"),
            anchors.sort_values("moment", kind="stable"),
            on="moment",
            by="user",
            allow_exact_matches=False,
        )
        return matches.sort_values("order")["row"].fillna(-1).to_numpy(dtype=np.int64)


@dataclass(frozen=True)
class Sequences:
    """All histories, one after the other, each oldest first.

    users: (U,) ids; offsets: int64 (U + 1,) of each user's first event; items: int64 (N,) rows; times: float64 (N,)
    epoch seconds; signals: float32 (N,); anchors: int64 (N,) row of the documents in force before event n, -1 for none.
    """

    users: NDArray[Any]
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]
    times: NDArray[np.float64]
    signals: NDArray[np.float32]
    anchors: NDArray[np.int64]

    def states(
        self,
        users: NDArray[np.int64],
        moments: NDArray[np.float64],
        documents: Documents,
        ends: NDArray[np.int64] | None = None,
    ) -> list[UserState]:
        """States of the users at positions `users` (n,) at `moments` (n,), of all their events or of those before the
        flat positions `ends` (n,)."""
        ends = self.offsets[users + 1] if ends is None else ends
        anchors = documents.in_force(self.users[users], moments)
        return [
            UserState(
                self.items[first:end],
                self.times[first:end],
                self.signals[first:end],
                float(moment),
                documents.vectors[anchor] if anchor >= 0 else None,
            )
            for first, end, moment, anchor in zip(self.offsets[users], ends, moments, anchors, strict=True)
        ]


def build_sequences(
    events: pd.DataFrame, rows: dict[str, int], settings: EventSettings, documents: Documents
) -> Sequences:
    """Histories of all users of an events frame that is sorted by time. Events of items outside `rows` are left out."""
    events = events[events[Columns.ITEM].isin(rows.keys())]
    codes, users = pd.factorize(events[Columns.USER], sort=True)
    order = np.argsort(codes, kind="stable")
    times = epoch_seconds(events[Columns.OCCURRED_AT])[order]
    counts = np.bincount(codes, minlength=len(users))
    items: NDArray[Any] = events[Columns.ITEM].map(rows).to_numpy(dtype=np.int64)
    owners = np.asarray(users, dtype=object)[codes[order]]
    return Sequences(
        users=np.asarray(users, dtype=object),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=items[order],
        times=times,
        signals=signals(events, settings)[order],
        anchors=documents.in_force(owners, times),
    )


@dataclass(frozen=True)
class Windows:
    """A batch of training windows, left-padded.

    items, ages (days before the window's last event), signals (0 = padding): (B, H), H at least L; for each of the last
    L events: targets (B, L) rows, -1 where nothing is to be learned, their weights (B, L) in the loss, gaps (B, L) days
    to the target, anchors (B, L).
    L is the longest of the batch, at most the window.
    """

    items: NDArray[np.int64]
    ages: NDArray[np.float32]
    signals: NDArray[np.float32]
    targets: NDArray[np.int64]
    gaps: NDArray[np.float32]
    anchors: NDArray[np.int64]
    weights: NDArray[np.float32]


class WindowSampler:
    """Cuts all histories into windows anew each epoch, so that a target meets contexts of many lengths."""

    def __init__(self, sequences: Sequences, settings: FusionSettings, history: int) -> None:
        self.sequences = self.unshuffled = sequences
        self.window = settings.window
        self.history = history
        self.batch_size = settings.batch_size
        self.shuffle_ties = settings.shuffle_ties
        self.lengths = np.diff(sequences.offsets)
        self.weights = target_weights(sequences, settings)

    def epoch(self, rng: np.random.Generator, rank: int = 0, processes: int = 1) -> Iterator[Windows]:
        """Batches of one epoch; each target comes exactly once. Windows of like history length share a batch, which
        holds `batch_size` windows of full length, or more of shorter ones.

        Of several processes, each of the same `rng`, number `rank` gets every so manieth batch, all of them equally
        many: in the last round, a process without a batch of its own gets one with nothing to learn.
        """
        if self.shuffle_ties:
            self.sequences = with_shuffled_ties(self.unshuffled, rng)
        first, last, learned_up_to = self._cut(rng)
        length = np.minimum(last - first + 1, self.history)
        order = np.lexsort((rng.random(len(last)), length))
        batches = self._batches(np.minimum(length[order], self.window))
        positions = rng.permutation(len(batches))
        rounds = math.ceil(len(batches) / processes)
        for number in range(rank, rounds * processes, processes):
            chosen = order[batches[positions[number % len(batches)]]]
            windows = self._gather(first[chosen], last[chosen], learned_up_to[chosen])
            yield windows if number < len(batches) else replace(windows, targets=np.full_like(windows.targets, -1))

    def _batches(self, lengths: NDArray[np.int64]) -> list[slice]:
        """Runs of windows of rising `lengths` that hold, padded to the longest of them, a batch's number of events."""
        max_events, start, batches = self.batch_size * self.window, 0, []
        while start < len(lengths):
            next_lengths = lengths[start : start + max_events]
            end = start + max(
                1, int(np.count_nonzero(next_lengths * np.arange(1, len(next_lengths) + 1) <= max_events))
            )
            batches.append(slice(start, end))
            start = end
        return batches

    def _cut(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """First event of the user, last input event and the input before the first one to learn from, a window each."""
        users = np.flatnonzero(self.lengths >= 2)
        first = self.sequences.offsets[users]
        last = self.sequences.offsets[users + 1] - 2
        shift = rng.integers(1, self.window + 1, size=len(users))
        pieces = []
        while len(last):
            learned_up_to = np.maximum(last - shift, first - 1)
            pieces.append((first, last, learned_up_to))
            left = learned_up_to >= first
            first, last = first[left], learned_up_to[left]
            shift = np.full(len(last), self.window)
        if not pieces:
            empty = np.array([], dtype=np.int64)
            return empty, empty, empty
        return tuple(np.concatenate(column) for column in zip(*pieces, strict=True))  # type: ignore[return-value]

    def _gather(self, first: NDArray[np.int64], last: NDArray[np.int64], learned_up_to: NDArray[np.int64]) -> Windows:
        data = self.sequences
        longest = int((last - first + 1).max())
        window, history_length = min(self.window, longest), min(self.history, longest)
        index = last[:, None] - np.arange(history_length - 1, -1, -1)
        is_event = index >= first[:, None]
        index = np.maximum(index, first[:, None])
        inputs = index[:, -window:]
        following = inputs + 1
        is_target = is_event[:, -window:] & (inputs > learned_up_to[:, None]) & (data.signals[following] > 0)
        ages = (data.times[last][:, None] - data.times[index]) / SECONDS_A_DAY
        gaps = (data.times[following] - data.times[inputs]) / SECONDS_A_DAY
        return Windows(
            items=np.where(is_event, data.items[index], 0),
            ages=ages.astype(np.float32),
            signals=np.where(is_event, data.signals[index], 0).astype(np.float32),
            targets=np.where(is_target, data.items[following], -1),
            gaps=np.where(is_event[:, -window:], gaps, 0).astype(np.float32),
            anchors=np.where(is_target, data.anchors[following], -1),
            weights=self.weights(data.items[following], data.signals[following]),
        )


def with_shuffled_ties(sequences: Sequences, rng: np.random.Generator) -> Sequences:
    """The histories with the events of one moment in a new order: what happened at once has none."""
    users = np.repeat(np.arange(len(sequences.users)), np.diff(sequences.offsets))
    order = np.lexsort((rng.random(len(users)), sequences.times, users))
    columns = {name: getattr(sequences, name)[order] for name in ("items", "signals", "anchors")}
    return replace(sequences, **columns)


def target_weights(
    sequences: Sequences, settings: FusionSettings
) -> Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]:
    """A function from items and signals of targets, of one shape, to their weights in the loss, float32.

    |signal| ^ event_weight, so that a purchase can weigh more than a view, times (events of the item / the mean of all
    items) ^ -rarity_weight.
    """
    counts = np.maximum(np.bincount(sequences.items, minlength=1), 1)
    rarity = (counts / counts.mean()) ** -settings.rarity_weight

    def loss_weights(items: NDArray[np.int64], signals: NDArray[np.float32]) -> NDArray[np.float32]:
        return (rarity[items] * np.abs(signals) ** settings.event_weight).astype(np.float32)

    return loss_weights
