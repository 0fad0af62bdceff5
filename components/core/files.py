"""Atomic writes, and SHA-256 of files."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


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
