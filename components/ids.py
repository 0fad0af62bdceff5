"""Ids of people, items and events: cleaned by one rule at every door, so that each is found by its own id."""

import re
import unicodedata

from components.bounds import MAX_ID

_RANGES = (
    "\xad", "\u061c", "\u180e", "\u200b-\u200f", "\u202a-\u202e", "\u2060-\u206f", "\ufeff", "\ufff9-\ufffb",
    "\U000e0000-\U000e007f",
)  # fmt: skip
"""Format characters: what has no width, byte order marks, marks of direction."""
_FORBIDDEN = re.compile(rf"[^\S ]|[\x00-\x1f\x7f-\x9f\ud800-\udfff{''.join(_RANGES)}]")


def _characters(span: str) -> str:
    return "".join(map(chr, range(ord(span[0]), ord(span[-1]) + 1)))


ENDS = "".join([*map(_characters, _RANGES), *filter(re.compile(r"\s").match, map(chr, range(0x3001)))])
"""What is taken off both ends of an id."""


def clean_id(value: object) -> str | None:
    """An id as text: NFC, without blanks and invisible characters at its ends; None for nothing.

    A number is its decimal text: a whole float loses its `.0` (a column with gaps turns whole numbers into floats).
    """
    if isinstance(value, str):
        if value.isascii():
            return value.strip() or None
    elif value is None or value != value:
        return None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value)).strip(ENDS) or None


def id_fault(cleaned: str) -> str | None:
    """What is wrong with an id that `clean_id` made: too long, or invisible characters inside; None for a sound one."""
    if len(cleaned) > MAX_ID:
        return f"has more than {MAX_ID} characters"
    if not cleaned.isprintable() and _FORBIDDEN.search(cleaned):
        return "holds control or invisible characters"
    return None


def repaired_id(stored: str) -> str | None:
    """What an id that was stored by other rules is now: invisible characters inside it go, too."""
    return clean_id(_FORBIDDEN.sub("", unicodedata.normalize("NFC", stored).strip(ENDS)))
