"""D_l and D_s: the two interests as text for a language model.

The most telling comes first, because an encoder cuts a text off. Words and titles stay in their own language. No dates:
the same interest always gives the same text, so its vector is found in the cache.
"""

from collections.abc import Iterable

TEXT_LENGTH = 120


def document_long(
    categories: Iterable[str], keywords: Iterable[str], favourites: Iterable[str], texts: Iterable[str]
) -> str:
    """D_l, such as "Lasting interests: drama. Often about: space. Favourites: Alien. In their words: great"; "" when
    all are empty.
    """
    return _document(
        _part("Lasting interests", categories, ", "),
        _part("Often about", keywords, ", "),
        _part("Favourites", favourites, "; "),
        _part("In their words", map(_brief, texts), "; "),
    )


def document_short(keywords: Iterable[str], titles: Iterable[str], texts: Iterable[str]) -> str:
    """D_s, such as "Right now: space. Recently: Alien; Moon. In their words: great" with the newest first; "" when all
    are empty.
    """
    return _document(
        _part("Right now", keywords, ", "),
        _part("Recently", titles, "; "),
        _part("In their words", map(_brief, texts), "; "),
    )


def _document(*parts: str) -> str:
    return " ".join(f"{part}." for part in parts if part)


def _part(label: str, values: Iterable[str], separator: str) -> str:
    joined = separator.join(filter(None, values))
    return f"{label}: {joined}" if joined else ""


def _brief(text: str) -> str:
    """The text on one line, cut to at most TEXT_LENGTH characters."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LENGTH else line[: TEXT_LENGTH - 1].rstrip() + "…"
