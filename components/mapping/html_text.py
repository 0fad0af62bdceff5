"""Text of HTML: without tags, scripts and styles. What is no HTML element stays, such as `List<String>`."""

import html
import re
from html.parser import HTMLParser


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BLOCKS = _names(
    "address article aside blockquote body br button caption center dd details div dl dt fieldset figcaption figure "
    "footer form frame frameset h1 h2 h3 h4 h5 h6 head header hr html iframe img input label legend li link main meta "
    "nav noscript object ol optgroup option p picture pre script section select source style summary table tbody td "
    "template textarea tfoot th thead title tr ul video audio embed canvas svg param track"
)
_INLINE = _names(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd mark nobr q s samp small span strike strong "
    "sub sup time tt u var wbr"
)
_ELEMENTS = _BLOCKS | _INLINE
_HIDDEN = ("script", "style")
_HIDDEN_PARTS = (("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->"))
MAX_PARSED = 10_000
"""Longest text that is parsed: the standard library's parser takes quadratic time for malformed tags."""
_TAG = re.compile(rf"</?(?:{'|'.join(sorted(_ELEMENTS, key=len, reverse=True))})\b[^<>]*>", re.IGNORECASE)
_MARKUP = re.compile(r"<[!?a-zA-Z/]")


def strip_html(text: str) -> str:
    """Removes tags, comments, and the contents of scripts and styles; decodes entities.

    HTML that is written in entities (`&lt;p&gt;`) is removed too.
    """
    if "<" not in text and _TAG.search(html.unescape(text)):
        text = html.unescape(text)
    if not _MARKUP.search(text):
        return text
    return " ".join((_parsed(text) if len(text) <= MAX_PARSED else _without_tags(text)).split())


def _parsed(text: str) -> str:
    parser = _TextParser()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError:  # the standard library's parser on some malformed declarations
        return _without_tags(text)
    return "".join(parser.parts)


def _without_tags(text: str) -> str:
    """Removes hidden elements, comments and tags in linear time, without regard to `>` in attributes."""
    for start, end in _HIDDEN_PARTS:
        parts, position, lower = [], 0, text.lower()
        while (begin := lower.find(start, position)) >= 0:
            parts.append(text[position:begin])
            close = lower.find(end, begin)
            position = len(text) if close < 0 else close + len(end)
        text = " ".join([*parts, text[position:]])
    return html.unescape(_TAG.sub(" ", text))


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden = tag
        self._keep(tag, self.get_starttag_text() or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._keep(tag, self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = None
        self._keep(tag, f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._hidden is None:
            self.parts.append(data)

    def _keep(self, tag: str, written: str) -> None:
        if tag not in _ELEMENTS:
            self.parts.append(written)
        elif tag in _BLOCKS:
            self.parts.append(" ")
