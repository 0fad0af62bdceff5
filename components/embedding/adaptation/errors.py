"""The error of this room."""

from components.errors import DuotempoError


class AdaptationError(DuotempoError):
    """The encoder cannot be adapted with these data or settings; the message names what is missing and the mend."""
