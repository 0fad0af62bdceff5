"""Ids of people, items and events: cleaned by one rule at every door, so that each is found by its own id."""

import math
import re
import unicodedata
from decimal import Decimal
from uuid import UUID

from components.core.columns import MAX_ID

MAX_RAW_LENGTH = 4 * MAX_ID
"""Characters of an id with what is taken off its ends."""
_INVISIBLE_RANGES = (
    "\xad", "\u034f", "\u061c", "\u115f-\u1160", "\u17b4-\u17b5", "\u180b-\u180f", "\u200b-\u200f",
    "\u202a-\u202e", "\u2060-\u206f", "\u2800", "\u3164", "\ufe00-\ufe0f", "\ufeff", "\uffa0",
    "\ufff9-\ufffb", "\U0001bca0-\U0001bca3", "\U0001d173-\U0001d17a", "\U000e0000-\U000e0fff",
)  # fmt: skip
"""What has no width or no ink: format characters, byte order marks, marks of direction, variants, fillers."""
_FORBIDDEN = re.compile(rf"[^\S ]|[\x00-\x1f\x7f-\x9f\ud800-\udfff{''.join(_INVISIBLE_RANGES)}]")


def _characters(span: str) -> str:
    return "".join(map(chr, range(ord(span[0]), ord(span[-1]) + 1)))


STRIPPED_CHARACTERS = "".join(
    [*map(_characters, _INVISIBLE_RANGES), *filter(re.compile(r"\s").match, map(chr, range(0x3001)))]
)
"""What is taken off both ends of an id."""


class PersonId(str):
    """A person's id, cleaned. written: as it was given."""

    written: str

    def __new__(cls, cleaned: str, written: str) -> "PersonId":
        person = super().__new__(cls, cleaned)
        person.written = written
        return person


def clean_id(value: object) -> str | None:
    """An id as text: NFC, without blanks and invisible characters at its ends; None for nothing.

    A number is its decimal text: a whole one loses its `.0` (a column with gaps turns whole numbers into floats).
    What has more than LONGEST_GIVEN characters stays as it is.
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


def id_error(cleaned: str, given: object = "") -> str | None:
    """What is wrong with an id that `clean_id` made of `given`: neither text nor a whole number, too long, or invisible
    characters inside; None for a sound one."""
    if type(given) is not str and (fault := _type_error(given)):
        return fault
    if len(cleaned) > MAX_ID:
        return f"has more than {MAX_ID} characters"
    if cleaned.isascii() and cleaned.isprintable():
        return None
    return "holds control or invisible characters" if _FORBIDDEN.search(cleaned) else None


def sound_id(given: str | int) -> str:
    """As `clean_id`. Raises ValueError with what is wrong with it."""
    cleaned = clean_id(given)
    if cleaned is None:
        raise ValueError("is empty; give an id")
    if fault := id_error(cleaned):
        raise ValueError(fault)
    return cleaned


def _type_error(given: object) -> str | None:
    if isinstance(given, (str, UUID)) or (isinstance(given, int) and not isinstance(given, bool)):
        return None
    if isinstance(given, (float, Decimal)):
        return None if _is_whole(given) else "is no whole number"
    return "is neither text nor a whole number"


def _is_whole(number: float | Decimal) -> bool:
    return math.isfinite(number) and number % 1 == 0


def repaired_id(stored: str) -> str | None:
    """What an id that was stored by other rules is now: invisible characters inside it go, too."""
    return clean_id(_FORBIDDEN.sub("", unicodedata.normalize("NFC", stored).strip(STRIPPED_CHARACTERS)))


def legacy_ids(written: str) -> set[str]:
    """What earlier versions made of an id that is written so, where it differs from `clean_id`: they took off blanks,
    or nothing."""
    if len(written) > MAX_RAW_LENGTH or clean_id(written) == written:
        return set()
    return {written, unicodedata.normalize("NFC", written).strip()} - {clean_id(written), ""}
