"""The error of this room."""

from components.core.errors import DuotempoError


class AdaptationError(DuotempoError):
    """The encoder cannot be adapted with these data or settings; the message names what is missing and the mend."""
