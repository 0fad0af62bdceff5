"""Cleaning of ids: invisible characters are stripped at the ends and refused inside."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.ids import clean_id, id_error, repaired_id

ENDS = st.text("  \t\n \u00a0\u200b\u200d\u2060\ufeff\u202e\u3000", max_size=5)
SOUND = st.text(st.characters(categories=["L", "N", "P", "S"], codec="utf-8"), min_size=1, max_size=20)


@given(SOUND, ENDS, ENDS)
def test_surrounding_invisible_characters_do_not_change_an_id(written: str, before: str, after: str) -> None:
    cleaned = clean_id(written)
    assert clean_id(before + written + after) == cleaned
    assert clean_id(unicodedata.normalize("NFD", written)) == cleaned == clean_id(cleaned)


@given(SOUND, st.sampled_from("\u00a0\u200b\u2060\ufeff\x00\x1b\n\ud800"), SOUND)
def test_invisible_characters_inside_are_refused_and_removed_from_stored_ids(head: str, hidden: str, tail: str) -> None:
    cleaned = clean_id(head + hidden + tail)
    assert cleaned
    assert id_error(cleaned) == "holds control or invisible characters"
    assert repaired_id(head + hidden + tail) == clean_id(head + tail)


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        (7, "7"), (7.0, "7"), (7.5, "7.5"), (0, "0"), ("007", "007"), ("new york", "new york"),
        (None, None), (float("nan"), None), ("", None), (" \u200b\ufeff ", None),
    ],
)  # fmt: skip
def test_numbers_become_decimal_text_and_empty_values_none(given: object, cleaned: str | None) -> None:
    assert clean_id(given) == cleaned


def test_ids_have_a_maximum_length() -> None:
    assert id_error("x" * 200) is None
    assert id_error("x" * 201) == "has more than 200 characters"
