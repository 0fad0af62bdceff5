"""Files that appear whole or not at all, and are what was written when they are read.

A sealed file has its SHA-256 beside it, in a file of its name and `.sha256`: whoever reads one that is damaged says
which, and what to do."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from components.core.errors import DuotempoError
from components.core.logs import one_line

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


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to; when the context ends well it takes the place of `file`, else it is removed.

    Makes the folder. For one writer at a time. Raises OSError.
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
    """64 hexadecimal digits. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def changed(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """The files of a folder, by name, that are missing or not what their SHA-256 says. Raises OSError."""
    return [name for name in digests if not (folder / name).is_file() or sha256(folder / name) != digests[name]]


class DamagedFile(DuotempoError):
    """A file is missing or damaged; the message names it and the remedy."""


@contextmanager
def sealed(file: Path) -> Iterator[None]:
    """For the time of writing a file, which is sealed then."""
    _checksum_file(file).unlink(missing_ok=True)
    yield
    _checksum_file(file).write_text(sha256(file), encoding="ascii")


@contextmanager
def reading(file: Path, remedy: str) -> Iterator[None]:
    """For the time of reading one file, sealed or not. Raises DamagedFile."""
    seal = _checksum_file(file)
    try:
        if seal.is_file() and seal.read_text(encoding="ascii") != sha256(file):
            raise ValueError("it is not what was written")
        yield
    except UNREADABLE as error:
        why = one_line(str(error)) or type(error).__name__
        raise DamagedFile(f"{file} is {'damaged' if file.exists() else 'missing'} ({why}): {remedy}") from error


def _checksum_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")
