"""Safe output of untrusted text to terminals and logs: no control sequences, no forged log records."""

import logging
import re

MAX_LINE = 500
_LINE = re.compile(r"[\n\t]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except those of `_LINE`, line separators, direction overrides, lone surrogates."""
LOG_FORMAT = "%(asctime)s %(message)s"


def visible(text: str) -> str:
    """Escapes control characters, so that ESC becomes `\\x1b`. Line breaks and tabs stay."""
    return text if text.isprintable() else _CONTROL.sub(_escape, text)


def one_line(text: str, max_length: int = MAX_LINE) -> str:
    """Like `visible`, but in one line of at most `max_length` characters."""
    line = _LINE.sub(_escape, visible(text[: max_length + 1]))
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class IndentedFormatter(logging.Formatter):
    """Indents all lines of a record but the first, so that no text in it can pass for another record."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n  ")


def configure_logging(handler: logging.Handler) -> None:
    """Sends the process's log from INFO on to a handler, each record with its time."""
    handler.setFormatter(IndentedFormatter(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
