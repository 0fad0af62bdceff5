"""Cleaning of raw rows, the same for a bulk load and for feedback: a row is stored, a duplicate, or rejected whole."""

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress

import numpy as np
import pandas as pd

from components.columns import EVENTS, Columns
from components.settings import EventSettings
from components.store.frames import EVENT_COLUMNS, ITEM_COLUMNS
from components.store.normalize import (
    BEYOND_SECONDS,
    UNSTORABLE,
    clean_categories,
    clean_id,
    clean_text,
    epoch_seconds,
    is_missing,
    json_safe,
    moments,
    numbers,
    storable,
)

logger = logging.getLogger(__name__)

MAX_ID = 200
_UNITS = (
    (1e14, "milliseconds", "1,000"),
    (1e17, "microseconds", "1,000,000"),
    (np.inf, "nanoseconds", "1,000,000,000"),
)
_BOOLEANS = {"true": True, "1": True, "yes": True, "y": True, "t": True,
             "false": False, "0": False, "no": False, "n": False, "f": False}  # fmt: skip
_CONTEXT = [Columns.SESSION, Columns.REQUEST, Columns.MODEL_VERSION, Columns.VARIANT]
_RAW_EVENT_COLUMNS = [
    Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.EVENT, Columns.VALUE, Columns.TEXT, Columns.EVENT_ID,
    *_CONTEXT,
]  # fmt: skip


@dataclass(frozen=True)
class Cleaned:
    """rows: what to store. rejected: `row` (dict) and `reason`, on the index of the raw frame. Together with
    `duplicates` (an event_id that an earlier row bears) they are all the rows that came in."""

    rows: pd.DataFrame
    rejected: pd.DataFrame
    duplicates: int = 0


class _Verdicts:
    """The first thing wrong with each row, None where it is sound."""

    def __init__(self, rows: int) -> None:
        self.reasons = np.full(rows, None, dtype=object)
        self.sound = np.ones(rows, dtype=bool)

    def reject(self, wrong: np.ndarray, code: str, explain: Callable[[int], str]) -> None:
        for row in np.flatnonzero(wrong & self.sound):
            self.reasons[row] = f"{code}: {explain(int(row))}"
            self.sound[row] = False

    def check_ids(self, name: str, ids: Sequence[str | None], *, required: bool = True) -> None:
        missing = np.array([value is None for value in ids], dtype=bool)
        if required:
            self.reject(missing, f"missing_{name}", lambda _: f"{name} is absent or empty")
        long = np.array([value is not None and len(value) > MAX_ID for value in ids], dtype=bool)
        self.reject(long, f"bad_{name}", lambda row: f"{_quoted(ids[row])} has more than {MAX_ID} characters")
        unstorable = np.array([value is not None and bool(UNSTORABLE.search(value)) for value in ids], dtype=bool)
        self.reject(unstorable, f"bad_{name}", lambda row: f"{_quoted(ids[row])} holds control characters")

    def rejected(self, raw: pd.DataFrame) -> pd.DataFrame:
        bad = raw[~self.sound]
        rows = [json_safe(row) for row in bad.to_dict("records")]  # type: ignore[arg-type]
        return pd.DataFrame(
            {Columns.ROW: pd.Series(rows, index=bad.index, dtype=object), Columns.REASON: self.reasons[~self.sound]},
            index=bad.index,
        )


def clean_events(
    raw: pd.DataFrame, *, source: str, settings: EventSettings, known_items: Collection[str], now: datetime
) -> Cleaned:
    """Sorts raw events into stored, duplicate and rejected ones.

    raw: user_id, item_id, timestamp (epoch seconds, or ISO 8601), event, and optionally value, text, event_id,
    session_id, request_id, model_version, variant; a column that is absent counts as absent in every row. `now` is
    aware. The rows are an events frame, sorted by occurred_at, ties in the order of arrival. A missing event_id is the
    sha256 of source, user, item, event, time, value and text, so that the same row twice is one event.
    """
    frame = raw.reset_index(drop=True).reindex(columns=_RAW_EVENT_COLUMNS)
    users, items, event_ids = (
        [clean_id(v) for v in frame[c].tolist()] for c in (Columns.USER, Columns.ITEM, Columns.EVENT_ID)
    )
    kinds = [(clean_id(value) or "").lower() for value in frame[Columns.EVENT].tolist()]
    seconds, values = epoch_seconds(frame[Columns.TIMESTAMP]), numbers(frame[Columns.VALUE])

    verdicts = _Verdicts(len(frame))
    verdicts.check_ids(Columns.USER, users)
    verdicts.check_ids(Columns.ITEM, items)
    verdicts.check_ids(Columns.EVENT_ID, event_ids, required=False)
    _check_kinds(verdicts, kinds)
    _check_times(
        verdicts, frame[Columns.TIMESTAMP].tolist(), seconds, now.timestamp() + settings.future_tolerance_seconds
    )
    _check_values(verdicts, frame[Columns.VALUE].tolist(), values)
    known = known_items if isinstance(known_items, set | frozenset | dict) else set(known_items)
    verdicts.reject(
        np.array([item not in known for item in items], dtype=bool),
        "unknown_item",
        lambda row: f"{_quoted(items[row])} is not in the catalogue; load the item first",
    )

    frame, sound = frame[verdicts.sound], verdicts.sound
    rows = pd.DataFrame(
        {
            Columns.EVENT_ID: list(compress(event_ids, sound)),
            Columns.USER: list(compress(users, sound)),
            Columns.ITEM: list(compress(items, sound)),
            Columns.EVENT: list(compress(kinds, sound)),
            Columns.VALUE: values[sound],
            Columns.OCCURRED_AT: moments(seconds[sound]),
            **{
                name: [clean_text(value) or None for value in frame[name].tolist()]
                for name in (Columns.TEXT, *_CONTEXT)
            },
            Columns.SOURCE: source,
        },
        columns=EVENT_COLUMNS,
    )
    rows = rows.assign(**{Columns.EVENT_ID: _event_ids(rows)})
    repeated = rows[Columns.EVENT_ID].duplicated()
    rows = rows[~repeated].sort_values(Columns.OCCURRED_AT, kind="stable", ignore_index=True)
    return _reported(Cleaned(rows, verdicts.rejected(raw), int(repeated.sum())), "events", source)


def clean_items(raw: pd.DataFrame, *, source: str) -> Cleaned:
    """Sorts raw items into stored and rejected ones; the rows are an items frame.

    raw: item_id, and optionally title, description, category (a list, or text joined by `|`), available,
    published_at, image_uri. Of two items with one id the first is kept, the other rejected as duplicate_item. An item
    without text is accepted. content_hash changes with any of the columns.
    """
    frame = raw.reset_index(drop=True).reindex(columns=ITEM_COLUMNS)
    ids = [clean_id(value) for value in frame[Columns.ITEM].tolist()]
    available = [_boolean(value) for value in frame[Columns.AVAILABLE].tolist()]
    published, written = epoch_seconds(frame[Columns.PUBLISHED_AT]), frame[Columns.PUBLISHED_AT].tolist()

    verdicts = _Verdicts(len(frame))
    verdicts.check_ids(Columns.ITEM, ids)
    verdicts.reject(
        pd.Series(ids, dtype=object).duplicated().to_numpy(),
        "duplicate_item",
        lambda row: f"an earlier row describes {_quoted(ids[row])}; keep one",
    )
    verdicts.reject(
        np.array([value is None for value in available], dtype=bool),
        "bad_available",
        lambda row: f"{_quoted(frame[Columns.AVAILABLE][row])} is neither true nor false",
    )
    verdicts.reject(
        np.array([clean_id(value) is not None for value in written], dtype=bool) & ~storable(published),
        "bad_published_at",
        lambda row: f"{_quoted(written[row])} is neither epoch seconds nor an ISO 8601 time",
    )

    frame, sound = frame[verdicts.sound], verdicts.sound
    rows = pd.DataFrame(
        {
            Columns.ITEM: list(compress(ids, sound)),
            Columns.TITLE: [clean_text(value) for value in frame[Columns.TITLE].tolist()],
            Columns.DESCRIPTION: [clean_text(value) for value in frame[Columns.DESCRIPTION].tolist()],
            Columns.CATEGORY: [clean_categories(value) for value in frame[Columns.CATEGORY].tolist()],
            Columns.AVAILABLE: list(compress(available, sound)),
            Columns.PUBLISHED_AT: moments(published[sound]),
            Columns.IMAGE: [clean_text(value) or None for value in frame[Columns.IMAGE].tolist()],
        }
    )
    content = rows.drop(columns=Columns.ITEM).itertuples(index=False, name=None)
    rows[Columns.CONTENT_HASH] = [_sha256(*(str(part) for part in row)) for row in content]
    return _reported(Cleaned(rows, verdicts.rejected(raw)), "items", source)


def _check_kinds(verdicts: _Verdicts, kinds: Sequence[str]) -> None:
    verdicts.reject(
        np.array([kind not in EVENTS for kind in kinds], dtype=bool),
        "unknown_event",
        lambda row: f"{_quoted(kinds[row])} is none of {', '.join(EVENTS)}",
    )


def _check_times(verdicts: _Verdicts, written: Sequence[object], seconds: np.ndarray, latest: float) -> None:
    """The reasons name no clock, so that the same row is rejected in the same words tomorrow."""
    verdicts.reject(
        ~np.isfinite(seconds),
        "bad_timestamp",
        lambda row: f"{_quoted(written[row])} is neither epoch seconds nor an ISO 8601 time",
    )
    below = BEYOND_SECONDS
    for above, unit, divisor in _UNITS:
        verdicts.reject(
            (seconds >= below) & (seconds < above),
            f"timestamp_in_{unit}",
            lambda row, unit=unit, divisor=divisor: f"{_quoted(written[row])} looks like {unit}; divide by {divisor}",  # type: ignore[misc]
        )
        below = above
    verdicts.reject(
        seconds > latest, "future_timestamp", lambda row: f"{_quoted(written[row])} lies ahead of the clock"
    )
    verdicts.reject(seconds < 0, "timestamp_before_1970", lambda row: f"{_quoted(written[row])} lies before 1970")


def _check_values(verdicts: _Verdicts, written: Sequence[object], values: np.ndarray) -> None:
    given = np.array([(clean_id(value) or "nan").lower() != "nan" for value in written], dtype=bool)
    verdicts.reject(np.isinf(values), "non_finite_value", lambda row: f"{_quoted(written[row])} is not finite")
    verdicts.reject(np.isnan(values) & given, "bad_value", lambda row: f"{_quoted(written[row])} is no number")


def _event_ids(rows: pd.DataFrame) -> list[str]:
    micros = rows[Columns.OCCURRED_AT].astype("int64").tolist()
    parts = (Columns.EVENT_ID, Columns.SOURCE, Columns.USER, Columns.ITEM, Columns.EVENT, Columns.VALUE, Columns.TEXT)
    columns = [rows[name].tolist() for name in parts]
    return [
        _sha256(source, user, item, kind, str(at), *("" if is_missing(part) else str(part) for part in (value, text)))
        if is_missing(given)
        else given
        for given, source, user, item, kind, value, text, at in zip(*columns, micros, strict=True)
    ]


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _boolean(value: object) -> bool | None:
    """None when it is neither; absent means available."""
    written = clean_id(value)
    return True if written is None else _BOOLEANS.get(written.lower())


def _quoted(value: object) -> str:
    text = "nothing" if is_missing(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _reported(cleaned: Cleaned, what: str, source: str) -> Cleaned:
    if len(cleaned.rejected):
        logger.warning("%d of the %s of %s rejected", len(cleaned.rejected), what, source)
    return cleaned
