"""The texts that a language model reads: of an item, and of a person's two interests, D_l and D_s.

The most telling comes first, because an encoder cuts a text off. Words and titles stay in their own language. No dates:
the same interest always gives the same text, so its vector is found in the cache.
"""

from collections.abc import Iterable, Sequence

import pandas as pd

from components.core.columns import Columns

TEXT_COLUMNS = (Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION)
TEXT_LENGTH = 120


def item_texts(items: pd.DataFrame, columns: Sequence[str] = TEXT_COLUMNS) -> list[str]:
    """One text an item: "title. categories. description", of those `columns` only; "" when there is none of them.

    Raises ValueError when `columns` names a column that is no text.
    """
    if unknown := set(columns) - set(TEXT_COLUMNS):
        raise ValueError(f"no item text: {', '.join(sorted(unknown))}; choose of {', '.join(TEXT_COLUMNS)}")
    parts = [_column(items, name) for name in TEXT_COLUMNS if name in columns]
    return [". ".join(filter(None, row)) for row in zip([""] * len(items), *parts, strict=True)]


def _column(items: pd.DataFrame, name: str) -> list[str]:
    if name == Columns.CATEGORY:
        return [", ".join(names) for names in items[name]]
    return [text.strip().rstrip(".") for text in items[name].fillna("")]


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
