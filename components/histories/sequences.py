"""User histories as flat arrays, and the training windows sampled from them."""

import math
from collections.abc import Iterator
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

    Attributes:
        users: User ids (anchors,).
        as_of: Exclusive anchor times in epoch seconds (anchors,).
        vectors: LLM(D_l) and LLM(D_s) (anchors, 2, encoder dims); a zero vector is a missing document.
    """

    users: NDArray[Any]
    as_of: NDArray[np.float64]
    vectors: NDArray[np.float32]

    @classmethod
    def none(cls, dimension: int = 0) -> "Documents":
        """An empty set of documents."""
        return cls(np.array([], dtype=object), np.array([]), np.zeros((0, 2, dimension), dtype=np.float32))

    def latest_before(self, users: NDArray[Any], moments: NDArray[np.float64]) -> NDArray[np.int64]:
        """Row of each user's latest anchor strictly before the given time (n,), or -1."""
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
    """The histories of all users, concatenated, each oldest event first.

    Attributes:
        users: User ids (users,).
        offsets: Position of each user's first event (users + 1,).
        items: Item rows (events,).
        times: Epoch seconds (events,).
        signals: Signed event weights (events,).
        anchors: Row in `Documents` of the latest anchor before the event (events,), or -1.
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
        """The states of some users.

        Args:
            users: Positions in `self.users` (n,).
            moments: Time of each state in epoch seconds (n,).
            documents: Document vectors, looked up by user and moment.
            ends: Exclusive end of each history as a position in the flat arrays (n,); by default all events.
        """
        ends = self.offsets[users + 1] if ends is None else ends
        anchors = documents.latest_before(self.users[users], moments)
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
    """Histories of all users in an events frame.

    Args:
        events: Events sorted by time.
        rows: Row number by item id; events of other items are dropped.
        settings: Weights and signs of the events.
        documents: Document vectors, linked to the events that follow their anchor.
    """
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
        anchors=documents.latest_before(owners, times),
    )


@dataclass(frozen=True)
class Windows:
    """A batch of training windows, left-padded.

    `history` is at least `length`, the longest window of the batch, which is at most the setting `fusion.window`.

    Attributes:
        items: Item rows of the inputs (batch, history).
        ages: Days before the window's last event (batch, history).
        signals: Signed event weights (batch, history); 0 is padding.
        targets: Item that follows each of the last events (batch, length), -1 where none is learned.
        gaps: Days between the event and its target (batch, length).
        anchors: Row in `Documents` valid for the target (batch, length), or -1.
        weights: Weight of the target in the loss (batch, length).
    """

    items: NDArray[np.int64]
    ages: NDArray[np.float32]
    signals: NDArray[np.float32]
    targets: NDArray[np.int64]
    gaps: NDArray[np.float32]
    anchors: NDArray[np.int64]


class WindowSampler:
    """Cuts the histories into windows at new random positions each epoch, so that context lengths vary per target."""

    def __init__(self, sequences: Sequences, settings: FusionSettings, history: int) -> None:
        self.sequences = self.unshuffled = sequences
        self.window = settings.window
        self.history = history
        self.batch_size = settings.batch_size
        self.shuffle_ties = settings.shuffle_ties
        self.lengths = np.diff(sequences.offsets)

    def epoch(self, rng: np.random.Generator, rank: int = 0, processes: int = 1) -> Iterator[Windows]:
        """The batches of one epoch; each target occurs exactly once.

        Windows of similar history length share a batch. A batch holds `batch_size` windows of full length, or more
        shorter ones.

        In distributed training every process passes the same `rng` and takes each `processes`-th batch. All get the
        same number: in the last round, a process without a batch of its own gets one without targets.
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
        """Splits windows of ascending lengths into runs that fit a batch when padded to their longest window."""
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
        """Per window: the user's first event, the last input event, and the input before the first with a target."""
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
        )


def with_shuffled_ties(sequences: Sequences, rng: np.random.Generator) -> Sequences:
    """The histories with simultaneous events of a user in random order, as their recorded order has no meaning."""
    users = np.repeat(np.arange(len(sequences.users)), np.diff(sequences.offsets))
    order = np.lexsort((rng.random(len(users)), sequences.times, users))
    columns = {name: getattr(sequences, name)[order] for name in ("items", "signals", "anchors")}
    return replace(sequences, **columns)
