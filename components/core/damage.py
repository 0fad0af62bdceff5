"""Files that an earlier step has written: whoever reads one that is damaged says which, and what to do.

A sealed file has its SHA-256 beside it, in a file of its name and `.sha256`.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from components.core.checksums import sha256
from components.core.errors import DuotempoError
from components.core.plain import one_line

UNREADABLE = (
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
"""What readers of JSON, Parquet and numpy's files raise of one that is cut off, changed or another one."""


class DamagedFile(DuotempoError):
    """A file is missing or damaged; the message names it and the remedy."""


@contextmanager
def sealed(file: Path) -> Iterator[None]:
    """For the time of writing a file, which is sealed then."""
    _seal_of(file).unlink(missing_ok=True)
    yield
    _seal_of(file).write_text(sha256(file), encoding="ascii")


@contextmanager
def reading(file: Path, remedy: str) -> Iterator[None]:
    """For the time of reading one file, sealed or not. Raises DamagedFile."""
    seal = _seal_of(file)
    try:
        if seal.is_file() and seal.read_text(encoding="ascii") != sha256(file):
            raise ValueError("it is not what was written")
        yield
    except UNREADABLE as error:
        why = one_line(str(error)) or type(error).__name__
        raise DamagedFile(f"{file} is {'damaged' if file.exists() else 'missing'} ({why}): {remedy}") from error


def _seal_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")
