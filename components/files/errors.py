"""The error of files that cannot be read."""

from components.core.errors import DuotempoError


class DatasetError(DuotempoError):
    """A dataset cannot be read; the message names the file and the column, and says how to fix it."""


def unreadable(file: object, kind: str, why: str, fix: str = "write it again") -> DatasetError:
    """The error for a file that is not what its content or ending says."""
    return DatasetError(f"{file} cannot be read as {kind} ({why}); {fix}")
