"""Cleans and validates raw rows, for bulk loads and feedback alike: a row is accepted, a duplicate, or rejected."""

import hashlib
import logging
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from components.core.columns import EVENTS, MAX_CATEGORIES, MAX_VALUE, VALUE_REQUIRED, Columns
from components.core.ids import clean_id, id_error
from components.core.normalize import (
    MAX_EPOCH_SECONDS,
    clean_categories,
    clean_text,
    epoch,
    is_missing,
    json_safe,
    moment,
    number,
    storable,
)
from components.ingestion.admission import ADMIT_ALL, Admission
from components.ingestion.attributes import clean_attributes
from components.ingestion.item_columns import with_content_hash
from components.settings import EventSettings
from components.store.partitions import month_of
from components.store.rows import EventRow, ItemRow, Rejected

logger = logging.getLogger(__name__)

_UNITS = (
    (1e14, "milliseconds", "1,000"),
    (1e17, "microseconds", "1,000,000"),
    (math.inf, "nanoseconds", "1,000,000,000"),
)
_BOOLEANS = {"true": True, "1": True, "yes": True, "y": True, "t": True,
             "false": False, "0": False, "no": False, "n": False, "f": False}  # fmt: skip
_NESTED = (bool, bytes, dict, list, tuple, set, np.ndarray)
"""Types that are never converted to text, because their Python repr is not meaningful."""
Row = TypeVar("Row")


@dataclass
class Cleaned(Generic[Row]):
    """The result of cleaning. `rows`, `rejected` and `duplicates` together account for every input row.

    Attributes:
        rows: What to store.
        duplicates: The number of rows that repeat the event_id of an earlier row.
    """

    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    duplicates: int = 0


class TimeBounds(NamedTuple):
    """The accepted range of event times.

    Attributes:
        first_day: Earliest day, as named in error messages.
        earliest: Start of that day, epoch seconds.
        latest: Epoch seconds.
        closed: Months (their starts) that accept no event.
    """

    first_day: date
    earliest: float
    latest: float
    closed: Set[datetime]


class _InvalidRow(Exception):
    """A row is invalid; the message is its first error as `code: explanation`."""


def clean_events(
    raw: Iterable[Mapping[str, object]],
    *,
    source: str,
    settings: EventSettings,
    known_items: Container[str],
    now: datetime,
    admission: Admission = ADMIT_ALL,
    closed: Set[datetime] = frozenset(),
) -> Cleaned[EventRow]:
    """Cleans raw events and sorts them by occurred_at, ties by arrival.

    A missing event_id becomes the sha256 of source, user, item, event, time, value and text, so that a repeated row is
    a duplicate.

    Args:
        raw: user_id, item_id, timestamp (epoch seconds or ISO 8601), event, and optionally value, text, event_id,
            session_id, request_id, model_version, variant.
        source: Recorded with every event.
        known_items: The item_ids of the catalogue.
        now: Timezone-aware.
        admission: Rows of users that it refuses are rejected with the reason only, without their content.
        closed: Months (their starts) that accept no event.
    """
    judged = judge_each(
        raw, source=source, settings=settings, known_items=known_items, now=now, admission=admission, closed=closed
    )
    cleaned, seen = Cleaned[EventRow](), set[str]()
    for row in judged:
        if isinstance(row, Rejected):
            cleaned.rejected.append(row)
        elif row.event_id in seen:
            cleaned.duplicates += 1
        else:
            seen.add(row.event_id)
            cleaned.rows.append(row)
    cleaned.rows.sort(key=attrgetter("occurred_at"))
    return _log_rejected(cleaned, "events", source)


def judge_each(
    raw: Iterable[Mapping[str, object]],
    *,
    source: str,
    settings: EventSettings,
    known_items: Container[str],
    now: datetime,
    admission: Admission = ADMIT_ALL,
    closed: Set[datetime] = frozenset(),
) -> Iterator[EventRow | Rejected]:
    """Like `clean_events`, but yields the verdict on each row, in the order of the rows; duplicates are not found."""
    times = time_bounds(settings, now, closed)
    for index, row in enumerate(raw):
        cleaned_id = clean_id(row.get(Columns.USER))
        user = cleaned_id and admission.names.get(cleaned_id, cleaned_id)
        if user and user in admission.refused:
            yield Rejected(index, {}, admission.refused[user])
            continue
        try:
            yield _event(row, user, source, known_items, times)
        except _InvalidRow as error:
            kept = {**row, Columns.USER: user} if user else row
            yield Rejected(index, json_safe(kept), str(error))


def time_bounds(settings: EventSettings, now: datetime, closed: Set[datetime] = frozenset()) -> TimeBounds:
    """The range of event times that is accepted at `now` (aware)."""
    earliest = datetime.combine(settings.earliest, datetime.min.time(), UTC).timestamp()
    return TimeBounds(settings.earliest, earliest, now.timestamp() + settings.future_tolerance_seconds, closed)


def clean_items(
    raw: Iterable[Mapping[str, object]], *, source: str, faults: Mapping[int, str] | None = None
) -> Cleaned[ItemRow]:
    """Cleans raw items. Items without text are accepted; content_hash covers all columns.

    Args:
        raw: item_id, and optionally title, description, category (a list, or text joined by `|`), available,
            published_at, image_uri, creator_id, attributes (an object of texts, numbers and booleans). Of two valid
            items with the same id the first is accepted, the second rejected as duplicate_item.
        source: Named in the log.
        faults: Reasons known before, by position: these rows are rejected even if cleaning finds no fault.
    """
    faults = faults or {}
    cleaned, seen = Cleaned[ItemRow](), set[str]()
    for index, row in enumerate(raw):
        try:
            item = _item(row, seen)
            if index in faults:
                raise _InvalidRow(faults[index])
        except _InvalidRow as error:
            cleaned.rejected.append(Rejected(index, json_safe(row), str(error)))
        else:
            cleaned.rows.append(item)
            seen.add(item.item_id)
    return _log_rejected(cleaned, "items", source)


def duplicate_item(item: str) -> str:
    """The reason to reject an item whose id an earlier row has."""
    return f"duplicate_item: an earlier row describes {_quoted(item)}; keep one"


def _event(
    raw: Mapping[str, object], user: str | None, source: str, known_items: Container[str], times: TimeBounds
) -> EventRow:
    user = _required(Columns.USER, raw, user)
    item = _required(Columns.ITEM, raw, clean_id(raw.get(Columns.ITEM)))
    event_id = _optional_id(Columns.EVENT_ID, raw)
    kind = (clean_id(raw.get(Columns.EVENT)) or "").lower()
    if kind not in EVENTS:
        raise _InvalidRow(f"unknown_event: {_quoted(kind)} is none of {', '.join(EVENTS)}")
    seconds = _valid_time(raw.get(Columns.TIMESTAMP), times)
    value = _valid_value(raw.get(Columns.VALUE))
    if value is None and kind in VALUE_REQUIRED:
        raise _InvalidRow(f"missing_value: a {kind} needs a value")
    if item not in known_items:
        raise _InvalidRow(f"unknown_item: {_quoted(item)} is not in the catalogue; load the item first")
    text = _text(Columns.TEXT, raw) or None
    if event_id is None:
        parts = ("" if value is None else str(value), text or "")
        event_id = _sha256(source, user, item, kind, str(round(seconds * 1e6)), *parts)
    session, request = _optional_id(Columns.SESSION, raw), _optional_id(Columns.REQUEST, raw)
    version, variant = _text(Columns.MODEL_VERSION, raw) or None, _text(Columns.VARIANT, raw) or None
    return EventRow(
        event_id, user, item, kind, value, text, moment(seconds), session, request, version, variant, source
    )


def _item(raw: Mapping[str, object], seen: Container[str]) -> ItemRow:
    item = _required(Columns.ITEM, raw, clean_id(raw.get(Columns.ITEM)))
    if item in seen:
        raise _InvalidRow(duplicate_item(item))
    available = _boolean(raw.get(Columns.AVAILABLE))
    if available is None:
        raise _InvalidRow(f"bad_available: {_quoted(raw.get(Columns.AVAILABLE))} is neither true nor false")
    raw_time = raw.get(Columns.PUBLISHED_AT)
    published_at = None
    if clean_id(raw_time) is not None:
        seconds = epoch(raw_time)
        if not storable(seconds):
            raise _InvalidRow(f"bad_published_at: {_quoted(raw_time)} is neither epoch seconds nor an ISO 8601 time")
        published_at = moment(seconds)
    categories = _categories(raw.get(Columns.CATEGORY))
    title, description = _text(Columns.TITLE, raw), _text(Columns.DESCRIPTION, raw)
    image, creator = _text(Columns.IMAGE, raw) or None, _optional_id(Columns.CREATOR, raw)
    try:
        attributes = clean_attributes(raw.get(Columns.ATTRIBUTES))
    except ValueError as error:
        raise _InvalidRow(f"bad_attributes: {error}") from error
    row = ItemRow(item, title, description, categories, available, published_at, image, creator, attributes, "")
    return with_content_hash(row)


def _required(name: str, raw: Mapping[str, object], cleaned: str | None) -> str:
    if cleaned is None:
        raise _InvalidRow(f"missing_{name}: {name} is absent or empty")
    return _valid_id(name, raw, cleaned)


def _optional_id(name: str, raw: Mapping[str, object]) -> str | None:
    if (raw_id := raw.get(name)) is None or (cleaned := clean_id(raw_id)) is None:
        return None
    return _valid_id(name, raw, cleaned)


def _valid_id(name: str, raw: Mapping[str, object], cleaned: str) -> str:
    if error := id_error(cleaned, raw[name]):
        raise _InvalidRow(f"bad_{name}: {_quoted(cleaned)} {error}")
    return cleaned


def _text(name: str, raw: Mapping[str, object]) -> str:
    if (raw_text := raw.get(name)) is None:
        return ""
    if isinstance(raw_text, _NESTED):
        raise _InvalidRow(f"bad_{name}: {_quoted(raw_text)} is no text")
    return clean_text(raw_text)


def _categories(raw: object) -> list[str]:
    parts = raw if isinstance(raw, list | tuple | np.ndarray) else [raw]
    if any(isinstance(part, _NESTED) for part in parts):
        raise _InvalidRow(f"bad_category: {_quoted(raw)} is neither text nor a list of texts")
    categories = clean_categories(parts)
    if len(categories) > MAX_CATEGORIES:
        raise _InvalidRow(f"too_many_categories: {len(categories)} of them, more than {MAX_CATEGORIES}")
    return categories


def _valid_time(raw: object, times: TimeBounds) -> float:
    """Parses and checks a time. The reasons do not contain the current time, so a row is always rejected in the same
    words."""
    seconds = epoch(raw)
    if not math.isfinite(seconds):
        raise _InvalidRow(f"bad_timestamp: {_quoted(raw)} is neither epoch seconds nor an ISO 8601 time")
    if seconds >= MAX_EPOCH_SECONDS:
        unit, divisor = next((unit, divisor) for above, unit, divisor in _UNITS if seconds < above)
        raise _InvalidRow(f"timestamp_in_{unit}: {_quoted(raw)} looks like {unit}; divide by {divisor}")
    if seconds > times.latest:
        raise _InvalidRow(f"future_timestamp: {_quoted(raw)} lies ahead of the clock")
    if seconds < times.earliest:
        raise _InvalidRow(f"timestamp_before_{times.first_day}: {_quoted(raw)} (setting events.earliest)")
    if times.closed and month_of(moment(seconds)) in times.closed:
        raise _InvalidRow(
            f"too_many_months: {_quoted(raw)} is in one of more new months than a request may start; send fewer "
            "months at once, or load them with `duotempo ingest`"
        )
    return seconds


def _valid_value(raw: object) -> float | None:
    if raw is None:
        return None
    value = number(raw)
    if math.isinf(value):
        raise _InvalidRow(f"non_finite_value: {_quoted(raw)} is not finite")
    if abs(value) > MAX_VALUE:
        raise _InvalidRow(f"value_out_of_range: {_quoted(raw)} is beyond {MAX_VALUE:g}")
    if not math.isnan(value):
        return value
    if (clean_id(raw) or "nan").lower() != "nan":
        raise _InvalidRow(f"bad_value: {_quoted(raw)} is no number")
    return None


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _boolean(value: object) -> bool | None:
    """Parses a boolean: True if absent, None if invalid."""
    text = clean_id(value)
    return True if text is None else _BOOLEANS.get(text.lower())


def _quoted(value: object) -> str:
    text = "nothing" if is_missing(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _log_rejected(cleaned: Cleaned[Row], what: str, source: str) -> Cleaned[Row]:
    if cleaned.rejected:
        logger.warning("%d of the %s of %s rejected", len(cleaned.rejected), what, source)
    return cleaned
