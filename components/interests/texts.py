"""The text of an item, as the encoder and the keywords read it."""

from collections.abc import Sequence

import pandas as pd

from components.core.columns import Columns

TEXT_COLUMNS = (Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION)


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
