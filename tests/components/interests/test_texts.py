import numpy as np
import pandas as pd
import pytest

from components.interests.documents import item_texts
from components.interests.profile import item_categories
from tests.support.toy_data import as_scipy

ITEMS = pd.DataFrame(
    {
        "item_id": ["1", "2", "3"],
        "title": ["Fargo (1996)", "", None],
        "description": ["A crime.", "Only words", None],
        "category": [["crime", "drama"], [], np.array([], dtype=object)],
    }
)


def test_a_text_is_title_categories_and_description() -> None:
    assert item_texts(ITEMS) == ["Fargo (1996). crime, drama. A crime", "Only words", ""]


def test_only_the_columns_that_may_be_read_are() -> None:
    assert item_texts(ITEMS, ["category", "title"]) == ["Fargo (1996). crime, drama", "", ""]
    assert item_texts(ITEMS.drop(columns=["description"]), ["title"]) == ["Fargo (1996)", "", ""]


def test_a_column_that_is_no_text_is_named() -> None:
    with pytest.raises(ValueError, match="price"):
        item_texts(ITEMS, ["title", "price"])


def test_categories_are_marked_once_an_item() -> None:
    items = ITEMS.assign(category=pd.Series([["crime", "drama", "crime"], ["drama"], []]))
    categories = item_categories(items)
    assert categories.terms == ["crime", "drama"]
    assert as_scipy(categories.matrix).toarray().tolist() == [[1, 1], [0, 1], [0, 0]]


def test_items_without_categories_have_no_category_columns() -> None:
    categories = item_categories(ITEMS.assign(category=pd.Series([[], [], []])))
    assert categories.terms == []
    assert categories.matrix.shape == (3, 0)
