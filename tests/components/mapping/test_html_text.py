import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.mapping.categories import parse_list
from components.mapping.html_text import strip_html

PIECES = [
    "<",
    ">",
    "</",
    "<!",
    "<![",
    "<?",
    "--",
    "]]",
    "script",
    "style",
    "p",
    "b",
    " ",
    "&",
    ";",
    "#x",
    "=",
    '"',
    "a",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Great<br />lamp</p>", "Great lamp"),
        ("<b>bo</b>ld", "bold"),
        ("a<script>alert('<p>')</script>b<style>p {}</style>c", "a b c"),
        ("<!-- hidden -->seen", "seen"),
        ("fish &amp; <i>chips</i>", "fish & chips"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("Map<String, Int>", "Map<String, Int>"),
        ("I <3 you", "I <3 you"),
        ("&lt;p&gt;written in entities&lt;/p&gt;", "written in entities"),
        ("x &lt; y", "x &lt; y"),
        ('<a href="x>y">link</a>', "link"),
        ("<![CDATA[x]]>y", "y"),
    ],
)
def test_tags_are_removed_and_text_stays(text: str, expected: str) -> None:
    assert strip_html(text) == expected


def test_long_texts_are_stripped_too() -> None:
    text = "<p>Great</p><script>alert(1)</script><!-- x --> &amp; <b>bold</b>" + " y" * 10_000
    assert strip_html(text).startswith("Great & bold y")


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_raises(text: str) -> None:
    strip_html(text)


@given(st.text(max_size=50) | st.lists(st.sampled_from("[]{}'\",:1a "), max_size=40).map("".join))
def test_any_text_is_a_list(text: str) -> None:
    assert isinstance(parse_list(text), list)


@pytest.mark.parametrize("piece", ["<a", "<!--", "<a href='", "<!", "</p", "<script>", "&lt;", "<a b='c' "])
def test_long_texts_take_little_time(piece: str) -> None:
    start = time.perf_counter()
    strip_html(piece * 10_000)
    assert time.perf_counter() - start < 5
