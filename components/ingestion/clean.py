"""Cleaning of raw rows, the same for a bulk load and for feedback: a row is stored, a duplicate, or rejected whole."""

import hashlib
import logging
import math
from collections.abc import Container, Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from components.core.columns import EVENTS, MAX_CATEGORIES, MAX_VALUE, VALUE_REQUIRED, Columns
from components.core.ids import clean_id, id_error
from components.core.normalize import (
    BEYOND_SECONDS,
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
"""What no text is made of: nobody meant its Python spelling."""
Row = TypeVar("Row")


@dataclass
class Cleaned(Generic[Row]):
    """rows: what to store. Together with `rejected` and `duplicates` (an event_id that an earlier row bears) they are
    all the rows that came in."""

    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    duplicates: int = 0


class _TimeBounds(NamedTuple):
    """When an event may have happened: from a day on (its first second), until a second, not in months that are
    closed."""

    first_day: date
    earliest: float
    latest: float
    closed: Set[datetime]


class _InvalidRow(Exception):
    """The first thing wrong with a row: `code: explanation`."""


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
    """Sorts raw events into stored, duplicate and rejected ones.

    raw: user_id, item_id, timestamp (epoch seconds, or ISO 8601), event, and optionally value, text, event_id,
    session_id, request_id, model_version, variant. `now` is aware. The rows are sorted by occurred_at, ties in the
    order of arrival. A missing event_id is the sha256 of source, user, item, event, time, value and text, so that the
    same row twice is one event. Of a row that `admission` refuses the reason alone is kept. closed: months (their
    first moments) that take no event.
    """
    earliest = datetime.combine(settings.earliest, datetime.min.time(), UTC).timestamp()
    times = _TimeBounds(settings.earliest, earliest, now.timestamp() + settings.future_tolerance_seconds, closed)
    cleaned, taken = Cleaned[EventRow](), set[str]()
    for index, row in enumerate(raw):
        given = clean_id(row.get(Columns.USER))
        user = given and admission.names.get(given, given)
        if user and user in admission.refused:
            cleaned.rejected.append(Rejected(index, {}, admission.refused[user]))
            continue
        try:
            event = _event(row, user, source, known_items, times)
        except _InvalidRow as fault:
            kept = {**row, Columns.USER: user} if user else row
            cleaned.rejected.append(Rejected(index, json_safe(kept), str(fault)))
            continue
        if event.event_id in taken:
            cleaned.duplicates += 1
        else:
            taken.add(event.event_id)
            cleaned.rows.append(event)
    cleaned.rows.sort(key=attrgetter("occurred_at"))
    return _log_rejected(cleaned, "events", source)


def clean_items(raw: Iterable[Mapping[str, object]], *, source: str) -> Cleaned[ItemRow]:
    """Sorts raw items into stored and rejected ones.

    raw: item_id, and optionally title, description, category (a list, or text joined by `|`), available,
    published_at, image_uri. Of two items with one id the first is kept, the other rejected as duplicate_item. An item
    without text is accepted. content_hash changes with any of the columns.
    """
    cleaned, taken = Cleaned[ItemRow](), set[str]()
    for index, row in enumerate(raw):
        try:
            item = _item(row, taken)
        except _InvalidRow as fault:
            cleaned.rejected.append(Rejected(index, json_safe(row), str(fault)))
        else:
            cleaned.rows.append(item)
        taken.add(clean_id(row.get(Columns.ITEM)) or "")
    return _log_rejected(cleaned, "items", source)


def _event(
    raw: Mapping[str, object], user: str | None, source: str, known_items: Container[str], times: _TimeBounds
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


def _item(raw: Mapping[str, object], taken: Container[str]) -> ItemRow:
    item = _required(Columns.ITEM, raw, clean_id(raw.get(Columns.ITEM)))
    if item in taken:
        raise _InvalidRow(f"duplicate_item: an earlier row describes {_quoted(item)}; keep one")
    available = _boolean(raw.get(Columns.AVAILABLE))
    if available is None:
        raise _InvalidRow(f"bad_available: {_quoted(raw.get(Columns.AVAILABLE))} is neither true nor false")
    written = raw.get(Columns.PUBLISHED_AT)
    published = None
    if clean_id(written) is not None:
        seconds = epoch(written)
        if not storable(seconds):
            raise _InvalidRow(f"bad_published_at: {_quoted(written)} is neither epoch seconds nor an ISO 8601 time")
        published = moment(seconds)
    categories = _categories(raw.get(Columns.CATEGORY))
    content = (
        _text(Columns.TITLE, raw),
        _text(Columns.DESCRIPTION, raw),
        categories,
        available,
        published,
        _text(Columns.IMAGE, raw) or None,
    )
    return ItemRow(item, *content, _sha256(*map(str, content)))


def _required(name: str, raw: Mapping[str, object], cleaned: str | None) -> str:
    if cleaned is None:
        raise _InvalidRow(f"missing_{name}: {name} is absent or empty")
    return _valid_id(name, raw, cleaned)


def _optional_id(name: str, raw: Mapping[str, object]) -> str | None:
    if (given := raw.get(name)) is None or (cleaned := clean_id(given)) is None:
        return None
    return _valid_id(name, raw, cleaned)


def _valid_id(name: str, raw: Mapping[str, object], cleaned: str) -> str:
    if fault := id_error(cleaned, raw[name]):
        raise _InvalidRow(f"bad_{name}: {_quoted(cleaned)} {fault}")
    return cleaned


def _text(name: str, raw: Mapping[str, object]) -> str:
    if (given := raw.get(name)) is None:
        return ""
    if isinstance(given, _NESTED):
        raise _InvalidRow(f"bad_{name}: {_quoted(given)} is no text")
    return clean_text(given)


def _categories(given: object) -> list[str]:
    parts = given if isinstance(given, list | tuple | np.ndarray) else [given]
    if any(isinstance(part, _NESTED) for part in parts):
        raise _InvalidRow(f"bad_category: {_quoted(given)} is neither text nor a list of texts")
    categories = clean_categories(parts)
    if len(categories) > MAX_CATEGORIES:
        raise _InvalidRow(f"too_many_categories: {len(categories)} of them, more than {MAX_CATEGORIES}")
    return categories


def _valid_time(written: object, times: _TimeBounds) -> float:
    """The reasons name no clock, so that the same row is rejected in the same words tomorrow."""
    seconds = epoch(written)
    if not math.isfinite(seconds):
        raise _InvalidRow(f"bad_timestamp: {_quoted(written)} is neither epoch seconds nor an ISO 8601 time")
    if seconds >= BEYOND_SECONDS:
        unit, divisor = next((unit, divisor) for above, unit, divisor in _UNITS if seconds < above)
        raise _InvalidRow(f"timestamp_in_{unit}: {_quoted(written)} looks like {unit}; divide by {divisor}")
    if seconds > times.latest:
        raise _InvalidRow(f"future_timestamp: {_quoted(written)} lies ahead of the clock")
    if seconds < times.earliest:
        raise _InvalidRow(f"timestamp_before_{times.first_day}: {_quoted(written)} (setting events.earliest)")
    if times.closed and month_of(moment(seconds)) in times.closed:
        raise _InvalidRow(
            f"too_many_months: {_quoted(written)} is in one of more months than a request may be the first to tell "
            "of; send fewer months at once, or load them with `duotempo ingest`"
        )
    return seconds


def _valid_value(written: object) -> float | None:
    if written is None:
        return None
    value = number(written)
    if math.isinf(value):
        raise _InvalidRow(f"non_finite_value: {_quoted(written)} is not finite")
    if abs(value) > MAX_VALUE:
        raise _InvalidRow(f"value_out_of_range: {_quoted(written)} is beyond {MAX_VALUE:g}")
    if not math.isnan(value):
        return value
    if (clean_id(written) or "nan").lower() != "nan":
        raise _InvalidRow(f"bad_value: {_quoted(written)} is no number")
    return None


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _boolean(value: object) -> bool | None:
    """None when it is neither; absent means available."""
    written = clean_id(value)
    return True if written is None else _BOOLEANS.get(written.lower())


def _quoted(value: object) -> str:
    text = "nothing" if is_missing(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _log_rejected(cleaned: Cleaned[Row], what: str, source: str) -> Cleaned[Row]:
    if cleaned.rejected:
        logger.warning("%d of the %s of %s rejected", len(cleaned.rejected), what, source)
    return cleaned
