"""Atomic writes, and files with checksums.

A sealed file has its SHA-256 beside it in `NAME.sha256`. Reading a damaged one raises an error that names the file and
says how to fix it."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from components.core.errors import DuotempoError
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


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Writes a file atomically: yields a temporary path that replaces `file` on success and is removed on error.

    Creates the folder. Supports one writer at a time. Raises OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    try:
        yield part
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sha256(file: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def changed(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """The names of the files in a folder that are missing or do not match their SHA-256. Raises OSError."""
    return [name for name in digests if not (folder / name).is_file() or sha256(folder / name) != digests[name]]


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
