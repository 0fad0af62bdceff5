"""The error of this room."""

from components.core.errors import DuotempoError


class BenchError(DuotempoError):
    """A benchmark cannot run as asked; the message names what is missing and says how to fix it."""
