"""Files with checksums.

A sealed file has its SHA-256 beside it in `NAME.sha256`. Reading a damaged one raises an error that names the file and
says how to fix it."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from components.core.errors import DuotempoError
from components.core.files import sha256
from components.core.logs import one_line

READ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    pa.ArrowException,
)
"""Exceptions that readers of JSON, Parquet and NumPy files raise for truncated, damaged or wrong files."""


class DamagedFile(DuotempoError):
    """A file is missing or damaged; the message names it and says how to fix it."""


@contextmanager
def checksummed(file: Path) -> Iterator[None]:
    """Writes the checksum of `file` when the context ends without an error; the file is written inside it."""
    _checksum_file(file).unlink(missing_ok=True)
    yield
    _checksum_file(file).write_text(sha256(file), encoding="ascii")


@contextmanager
def reading(file: Path, remedy: str) -> Iterator[None]:
    """Verifies the checksum of `file`, if it has one, and converts read errors in the context to DamagedFile.

    Args:
        remedy: How to fix a damaged file, for the message.
    """
    seal = _checksum_file(file)
    try:
        if seal.is_file() and seal.read_text(encoding="ascii") != sha256(file):
            raise ValueError("it is not what was written")
        yield
    except READ_ERRORS as error:
        why = one_line(str(error)) or type(error).__name__
        raise DamagedFile(f"{file} is {'damaged' if file.exists() else 'missing'} ({why}): {remedy}") from error


def _checksum_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")
