"""Texts for the encoder: of an item, and of a user's two interests, D_l and D_s.

The most informative part comes first, because encoders truncate. Words and titles keep their language. There are no
dates: the same interest always gives the same text, so its vector is cached.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from components.core.columns import Columns

if TYPE_CHECKING:
    import pandas as pd

TEXT_COLUMNS = (Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION)
TEXT_LENGTH = 120
"""Maximum characters of a user's own text in a document."""


def item_text(title: str | None, category: Iterable[str], description: str | None) -> str:
    """The text of an item, "title. categories. description", without empty parts."""
    parts = ((title or "").strip().rstrip("."), ", ".join(category), (description or "").strip().rstrip("."))
    return ". ".join(filter(None, parts))


def item_texts(items: "pd.DataFrame", columns: Sequence[str] = TEXT_COLUMNS) -> list[str]:
    """The `item_text` of each item, limited to `columns`; "" where all are empty.

    Raises:
        ValueError: `columns` contains a column that is not a text column.
    """
    if unknown := set(columns) - set(TEXT_COLUMNS):
        raise ValueError(
            f"not a text column of items: {', '.join(sorted(unknown))}; choose from {', '.join(TEXT_COLUMNS)}"
        )
    empty = {Columns.TITLE: "", Columns.CATEGORY: (), Columns.DESCRIPTION: ""}
    parts = [items[name].fillna("") if name in columns else [empty[name]] * len(items) for name in TEXT_COLUMNS]
    return [item_text(*part) for part in zip(*parts, strict=True)]


def document_long(
    categories: Iterable[str], keywords: Iterable[str], favourites: Iterable[str], texts: Iterable[str]
) -> str:
    """D_l, e.g. "Lasting interests: drama. Often about: space. Favourites: Alien. In their words: great."; "" when all
    parts are empty.
    """
    return _document(
        _part("Lasting interests", categories, ", "),
        _part("Often about", keywords, ", "),
        _part("Favourites", favourites, "; "),
        _part("In their words", map(_brief, texts), "; "),
    )


def document_short(keywords: Iterable[str], titles: Iterable[str], texts: Iterable[str]) -> str:
    """D_s, e.g. "Right now: space. Recently: Alien; Moon. In their words: great.", newest title first; "" when all
    parts are empty.
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
    """The text on one line, truncated to TEXT_LENGTH characters."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LENGTH else line[: TEXT_LENGTH - 1].rstrip() + "…"
