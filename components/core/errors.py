"""The base class of Duotempo's errors, whose messages name the input and say how to fix it."""


class DuotempoError(Exception):
    """An error that the user can fix; the commands print only its message and exit with 1."""
