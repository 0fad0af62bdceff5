"""The error that benchmarks raise."""

from components.core.errors import DuotempoError


class BenchError(DuotempoError):
    """A benchmark cannot run; the message names what is missing or wrong and how to fix it."""
