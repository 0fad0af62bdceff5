"""Cleaning of user, item and event ids, by the same rule at every entry point."""

import math
import re
import unicodedata
from decimal import Decimal
from uuid import UUID

from components.core.columns import MAX_ID

MAX_RAW_LENGTH = 4 * MAX_ID
"""Most characters of a raw id, before its ends are stripped."""
_INVISIBLE_RANGES = (
    "\xad", "\u034f", "\u061c", "\u115f-\u1160", "\u17b4-\u17b5", "\u180b-\u180f", "\u200b-\u200f",
    "\u202a-\u202e", "\u2060-\u206f", "\u2800", "\u3164", "\ufe00-\ufe0f", "\ufeff", "\uffa0",
    "\ufff9-\ufffb", "\U0001bca0-\U0001bca3", "\U0001d173-\U0001d17a", "\U000e0000-\U000e0fff",
)  # fmt: skip
"""Invisible characters: format characters, byte order marks, direction marks, variation selectors, fillers."""
_FORBIDDEN = re.compile(rf"[^\S ]|[\x00-\x1f\x7f-\x9f\ud800-\udfff{''.join(_INVISIBLE_RANGES)}]")


def _characters(span: str) -> str:
    return "".join(map(chr, range(ord(span[0]), ord(span[-1]) + 1)))


STRIPPED_CHARACTERS = "".join(
    [*map(_characters, _INVISIBLE_RANGES), *filter(re.compile(r"\s").match, map(chr, range(0x3001)))]
)
"""Characters stripped from both ends of an id."""


class PersonId(str):
    """A user's cleaned id; `written` is the raw id."""

    written: str

    def __new__(cls, cleaned: str, raw: str) -> "PersonId":
        instance = super().__new__(cls, cleaned)
        instance.written = raw
        return instance


def clean_id(value: object) -> str | None:
    """Converts an id to text: NFC, without white space and invisible characters at its ends; None if empty.

    Numbers become decimal text, whole ones without `.0` (a column with missing values turns integers into floats).
    Texts longer than MAX_RAW_LENGTH are returned unchanged.
    """
    if isinstance(value, str):
        if value.isascii():
            return value.strip() or None
        if len(value) > MAX_RAW_LENGTH:
            return value
    elif value is None or value != value:
        return None
    elif isinstance(value, (float, Decimal)) and _is_whole(value):
        value = int(value)
    return unicodedata.normalize("NFC", str(value)).strip(STRIPPED_CHARACTERS) or None


def id_error(cleaned: str, raw: object = "") -> str | None:
    """What is wrong with an id that `clean_id` made of `raw`; None for a valid one.

    Invalid are other types than text and whole numbers, ids longer than MAX_ID, and invisible characters inside.
    """
    if type(raw) is not str and (error := _type_error(raw)):
        return error
    if len(cleaned) > MAX_ID:
        return f"has more than {MAX_ID} characters"
    if cleaned.isascii() and cleaned.isprintable():
        return None
    return "holds control or invisible characters" if _FORBIDDEN.search(cleaned) else None


def validated_id(raw: str | int) -> str:
    """Like `clean_id`, but raises ValueError for an invalid id."""
    cleaned = clean_id(raw)
    if cleaned is None:
        raise ValueError("is empty; give an id")
    if error := id_error(cleaned):
        raise ValueError(error)
    return cleaned


def _type_error(raw: object) -> str | None:
    if isinstance(raw, (str, UUID)) or (isinstance(raw, int) and not isinstance(raw, bool)):
        return None
    if isinstance(raw, (float, Decimal)):
        return None if _is_whole(raw) else "is no whole number"
    return "is neither text nor a whole number"


def _is_whole(number: float | Decimal) -> bool:
    return math.isfinite(number) and number % 1 == 0


def repaired_id(stored: str) -> str | None:
    """The current form of an id that an earlier version stored; removes invisible characters inside it, too."""
    return clean_id(_FORBIDDEN.sub("", unicodedata.normalize("NFC", stored).strip(STRIPPED_CHARACTERS)))


def legacy_ids(raw: str) -> set[str]:
    """The ids that earlier versions stored for a raw id, where they differ from `clean_id`.

    Earlier versions stripped only white space, or nothing.
    """
    if len(raw) > MAX_RAW_LENGTH or clean_id(raw) == raw:
        return set()
    return {raw, unicodedata.normalize("NFC", raw).strip()} - {clean_id(raw), ""}
