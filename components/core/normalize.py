"""Texts, numbers and times as they are stored: NFC, trimmed, UTC."""

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
"""Control characters and lone surrogates: no id holds one, and Postgres cannot keep all of them."""

BEYOND_SECONDS = 1e11
"""The year 5138: who writes a number beyond it does not count in seconds (milliseconds pass it since 1973)."""

MAX_FIELDS, MAX_NAME, MAX_TEXT, OTHER_FIELDS = 50, 150, 600, "…"
"""Of a rejected row that is kept."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_BEFORE_YEAR_1, _AFTER_YEAR_9999 = -62_135_596_800, 253_402_300_800


def is_missing(value: object) -> bool:
    """None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def clean_text(value: object) -> str:
    """Readable text: HTML entities decoded, control characters and runs of white space made one space, NFC."""
    if is_missing(value):
        return ""
    if isinstance(value, str) and value.isalnum() and value.isascii():
        return value
    text = UNSTORABLE.sub(" ", html.unescape(str(value)))
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_categories(parts: Iterable[object]) -> list[str]:
    """Categories, each a text or several joined by `|`: cleaned, each once, empty ones dropped."""
    names = (clean_text(name) for part in parts if not is_missing(part) for name in str(part).split("|"))
    return list(dict.fromkeys(name for name in names if name))


def number(value: object) -> float:
    """NaN where there is none. Numeric text counts as a number, in the digits 0 to 9 and without `_`: what else Python
    reads was not meant as one."""
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
    """Epoch seconds; NaN where unreadable.

    Numbers and numeric text are seconds; dates and ISO 8601 text are read as UTC when they bear no offset.
    """
    seconds = number(value)
    if not math.isnan(seconds) or not isinstance(value, str | date):
        return seconds
    written = str(value)
    try:
        moment = datetime.fromisoformat(f"{written}-01" if _MONTH.fullmatch(written) else written)
    except ValueError:
        return math.nan
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) / timedelta(seconds=1)


def storable(seconds: float) -> bool:
    """Whether a time lies in the years 1 to 9999; NaN does not."""
    return _BEFORE_YEAR_1 <= seconds < _AFTER_YEAR_9999


def moment(seconds: float) -> datetime:
    """Epoch seconds as a time in UTC, to the microsecond. Raises OverflowError unless `storable`."""
    return _EPOCH + timedelta(0, 0, round(seconds * 1e6))


def json_safe(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as Postgres' JSON can hold it: what JSON has no word for becomes text, of what is long the beginning and
    the sha256 are kept. At most some 40 kB; what is so already stays as it is."""
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
    return re.sub(r"[\x00\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _short(text: str, longest: int) -> str:
    """The text, or its beginning and what tells it from others of the same beginning."""
    if len(text) <= longest:
        return text
    tail = f"… ({len(text)} characters, sha256 {_digest(text)})"
    return text[: longest - len(tail)] + tail


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
