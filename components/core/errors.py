"""The root of Duotempo's errors: a message for a person, which names the input and says how to fix it."""


class DuotempoError(Exception):
    """Something that a person can fix; the commands print the message alone and exit with 1."""
