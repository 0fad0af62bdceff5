"""Normalises texts, numbers and times for storage: NFC, trimmed, UTC."""

import hashlib
import html
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates: invalid in ids, and partly refused by Postgres."""

MAX_EPOCH_SECONDS = 1e11
"""The year 5138: numbers beyond it are not in seconds (milliseconds exceed it since 1973)."""

MAX_FIELDS, MAX_NAME, MAX_TEXT, OTHER_FIELDS = 50, 150, 600, "…"
"""Limits of a quarantined row: fields, characters of a name and of a text; and the key that summarises other fields."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_BEFORE_YEAR_1, _AFTER_YEAR_9999 = -62_135_596_800, 253_402_300_800


def is_missing(value: object) -> bool:
    """Whether a value is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def clean_text(value: object) -> str:
    """Decodes HTML entities, collapses control characters and white space to single spaces, and normalises to NFC."""
    if is_missing(value):
        return ""
    if isinstance(value, str) and value.isalnum() and value.isascii():
        return value
    text = UNSTORABLE.sub(" ", html.unescape(str(value)))
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_categories(parts: Iterable[object]) -> list[str]:
    """Splits categories at `|`, cleans them, and drops empty and repeated ones."""
    names = (clean_text(name) for part in parts if not is_missing(part) for name in str(part).split("|"))
    return list(dict.fromkeys(name for name in names if name))


def number(value: object) -> float:
    """Parses a number; NaN if there is none.

    Numeric text counts if it is ASCII and without `_`; other text that Python's float accepts is not meant as a number.
    """
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return math.nan
    if isinstance(value, str) and ("_" in value or not value.strip().isascii()):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def epoch(value: object) -> float:
    """Parses a time to epoch seconds; NaN if invalid.

    Numbers and numeric text are seconds; dates and ISO 8601 text without an offset are UTC.
    """
    seconds = number(value)
    if not math.isnan(seconds) or not isinstance(value, str | date):
        return seconds
    raw_time = str(value)
    try:
        parsed = datetime.fromisoformat(f"{raw_time}-01" if _MONTH.fullmatch(raw_time) else raw_time)
    except ValueError:
        return math.nan
    return (parsed.replace(tzinfo=parsed.tzinfo or UTC) - _EPOCH) / timedelta(seconds=1)


def storable(seconds: float) -> bool:
    """Whether epoch seconds lie in the years 1 to 9999; False for NaN."""
    return _BEFORE_YEAR_1 <= seconds < _AFTER_YEAR_9999


def moment(seconds: float) -> datetime:
    """Converts epoch seconds to a UTC time, to the microsecond. Raises OverflowError unless `storable`."""
    return _EPOCH + timedelta(0, 0, round(seconds * 1e6))


def json_safe(row: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a row to values that Postgres' jsonb can hold, about 40 kB at most. Idempotent.

    Values without a JSON type become text; long texts and surplus fields are truncated, with their sha256.
    """
    names = list(row)
    kept = {_short(_escaped(str(name)), MAX_NAME): _json_value(row[name]) for name in names[:MAX_FIELDS]}
    if others := names[MAX_FIELDS:]:
        text = "\x1f".join(f"{name}\x1f{row[name]}" for name in others)
        kept[OTHER_FIELDS] = f"{len(others)} more fields, sha256 {_digest(text)}"
    return kept


def _json_value(value: Any) -> Any:
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else _short(hex(value), MAX_TEXT)
    return _short(_escaped(value if isinstance(value, str) else str(value)), MAX_TEXT)


def _escaped(text: str) -> str:
    return re.sub(r"[\x00\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _short(text: str, max_length: int) -> str:
    """Truncates a long text and appends its length and sha256."""
    if len(text) <= max_length:
        return text
    tail = f"… ({len(text)} characters, sha256 {_digest(text)})"
    return text[: max_length - len(tail)] + tail


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
