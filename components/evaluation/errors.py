"""The error of this room."""

from components.core.errors import DuotempoError


class EvaluationError(DuotempoError):
    """The events cannot be split or judged as asked; the message names what is missing and says how to fix it."""
