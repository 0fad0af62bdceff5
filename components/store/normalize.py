"""Ids, texts, numbers and times as they are stored: NFC, trimmed, UTC."""

import html
import math
import re
import unicodedata
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates: no id holds one, and Postgres cannot keep all of them."""

BEYOND_SECONDS = 1e11
"""The year 5138: who writes a number beyond it does not count in seconds (milliseconds pass it since 1973)."""

_BEFORE_YEAR_1, _AFTER_YEAR_9999 = -62_135_596_800, 253_402_300_800


def is_missing(value: object) -> bool:
    """None, NaN, NaT or NA."""
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def clean_id(value: object) -> str | None:
    """An id as text; a whole float loses its `.0` (a column with gaps turns whole numbers into floats)."""
    if is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value)).strip() or None


def clean_text(value: object) -> str:
    """Readable text: HTML entities decoded, control characters and runs of white space made one space, NFC."""
    if is_missing(value):
        return ""
    text = UNSTORABLE.sub(" ", html.unescape(str(value)))
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_categories(value: object) -> list[str]:
    """Categories of a list, or of text joined by `|`: cleaned, each once, empty ones dropped."""
    parts = value if isinstance(value, list | tuple | np.ndarray) else [value]
    names = (clean_text(name) for part in parts if not is_missing(part) for name in str(part).split("|"))
    return list(dict.fromkeys(name for name in names if name))


def numbers(values: pd.Series) -> np.ndarray:
    """The numbers in a column, float64 (n,); NaN where there is none. Numeric text counts as a number."""
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array([_number(value) for value in values.tolist()], dtype=np.float64)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def epoch_seconds(values: pd.Series) -> np.ndarray:
    """Epoch seconds in a column, float64 (n,); NaN where unreadable.

    Numbers and numeric text are seconds; dates and ISO 8601 text are read as UTC when they bear no offset.
    """
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _seconds(pd.to_datetime(values, utc=True))
    seconds = numbers(values)
    written = [
        str(value) if isinstance(value, str | date) and str(value).isascii() and math.isnan(number) else None
        for value, number in zip(values.tolist(), seconds, strict=True)
    ]
    if any(written):
        moments = pd.to_datetime(pd.Series(written, dtype="str"), errors="coerce", utc=True, format="ISO8601")
        seconds = np.where(np.isnan(seconds), _seconds(moments), seconds)
    return seconds


def _seconds(moments: pd.Series) -> np.ndarray:
    microseconds = moments.dt.as_unit("us")
    return np.where(microseconds.isna(), np.nan, microseconds.astype("int64").to_numpy() / 1e6)


def storable(seconds: np.ndarray) -> np.ndarray:
    """Whether a time lies in the years 1 to 9999, bool (n,)."""
    return (seconds >= _BEFORE_YEAR_1) & (seconds < _AFTER_YEAR_9999)


def moments(seconds: np.ndarray) -> pd.Series:
    """Epoch seconds (n,) as datetime64[us, UTC], to the microsecond; NaN becomes NaT."""
    whole = np.round(np.nan_to_num(seconds) * 1e6).astype("int64")
    series = pd.Series(whole.astype("datetime64[us]")).dt.tz_localize("UTC")
    return series.where(~np.isnan(seconds))


def json_safe(row: dict[str, Any]) -> dict[str, Any]:
    """A row as Postgres' JSON can hold it, nothing lost: what JSON has no word for becomes text."""
    return {_escaped(str(name)): _json_value(value) for name, value in row.items()}


def _json_value(value: Any) -> Any:
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _escaped(value if isinstance(value, str) else str(value))


def _escaped(text: str) -> str:
    return re.sub(r"[\x00\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
