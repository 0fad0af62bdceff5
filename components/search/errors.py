"""The errors of this package."""

from components.core.errors import DuotempoError


class SearchError(DuotempoError):
    """A search cannot begin or has found nothing; the message says how to fix it."""


class ImpossibleValues(SearchError):
    """Values of a trial that do not go together; the message says why."""
