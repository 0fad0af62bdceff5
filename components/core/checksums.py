"""Whether files are those that were written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def sha256(file: Path) -> str:
    """64 hexadecimal digits. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def changed(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """The files of a folder, by name, that are missing or not what their SHA-256 says. Raises OSError."""
    return [name for name in digests if not (folder / name).is_file() or sha256(folder / name) != digests[name]]
