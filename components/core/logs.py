"""Logs in which each record is told from the text of others that stands in it."""

import logging

from components.core.plain import visible

TIMED = "%(asctime)s %(message)s"


class LogLines(logging.Formatter):
    """A record begins at the edge, and whatever follows in it is indented: no text in it passes for another record."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record)).replace("\n", "\n  ")


def log_to(handler: logging.Handler) -> None:
    """All that this process logs from INFO on goes there, each record with its time."""
    handler.setFormatter(LogLines(TIMED))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
