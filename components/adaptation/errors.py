"""The error that adaptation raises."""

from components.core.errors import DuotempoError


class AdaptationError(DuotempoError):
    """The encoder cannot be adapted with these data or settings; the message says what is missing and how to fix it."""
