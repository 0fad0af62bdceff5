"""Writes unpacked or converted copies of files, and stops before the disk is full."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from components.files.errors import DatasetError

CHUNK = 4 << 20
"""Bytes that are read at a time."""
MIN_FREE = 1 << 30
"""Bytes of disk that stay free."""


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The rest of a stream."""
    while chunk := stream.read(CHUNK):
        yield chunk


def write(source: object, parts: Iterable[bytes], target: Path) -> Path:
    """Writes a copy of a source.

    Raises DatasetError when less than MIN_FREE bytes of disk would stay free; the copy is then removed.
    """
    written = 0
    try:
        with target.open("wb") as stream:
            for part in parts:
                if shutil.disk_usage(target.parent).free - len(part) < MIN_FREE:
                    raise DatasetError(
                        f"{source} takes more than {written / 2**30:,.1f} GiB of disk when unpacked, and "
                        f"{target.parent} has no more: split it, or free disk space"
                    )
                stream.write(part)
                written += len(part)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target
