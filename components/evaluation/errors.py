"""The error of this room."""


class EvaluationError(ValueError):
    """The events cannot be split or judged as asked; the message names what is missing and the mend."""
