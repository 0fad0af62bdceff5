"""The root of Duotempo's errors: a message for a person, which names the input and the mend."""


class DuotempoError(Exception):
    """Something that a person can mend; the commands print the message alone and exit with 1."""
