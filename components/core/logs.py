"""Text of other people on a terminal and in a log: it moves no cursor, colours nothing and begins no line."""

import logging
import re

MAX_LINE = 500
_LINE = re.compile(r"[\n\t]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but the two of `_LINE`, separators of lines, turns of the direction, lone surrogates."""
LOG_FORMAT = "%(asctime)s %(message)s"


def visible(text: str) -> str:
    """The text with what a terminal would obey written out: an escape is `\\x1b`. Lines and tabs stay."""
    return text if text.isprintable() else _CONTROL.sub(_written_out, text)


def one_line(text: str, max_length: int = MAX_LINE) -> str:
    """The text as `visible`, in one line of at most so many characters."""
    line = _LINE.sub(_written_out, visible(text[: max_length + 1]))
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


class LogLines(logging.Formatter):
    """A record begins at the edge, and whatever follows in it is indented: no text in it passes for another record."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n  ")


def log_to(handler: logging.Handler) -> None:
    """All that this process logs from INFO on goes there, each record with its time."""
    handler.setFormatter(LogLines(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
