"""Unpacks compressed files, recognised by their first bytes."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.core.logs import one_line
from components.files import spool
from components.files.errors import DatasetError, unreadable
from components.files.names import join_names

MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_WORKBOOKS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")
"""Parts by which a zip file is a workbook: .xlsx, .xlsb, .ods."""
_BY_SYSTEMS = ("__MACOSX/", ".DS_Store", "Thumbs.db")
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)


def _open_zstd(file: Path) -> pa.NativeFile:
    return pa.input_stream(str(file), compression="zstd")


_OPENERS: dict[str, Callable[..., Any]] = {
    "gzip": gzip.open,
    "zstd": _open_zstd,
    "bzip2": bz2.open,
    "xz": lzma.open,
}


def compression(head: bytes) -> str | None:
    """The compression of a file that begins with these bytes."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


def is_workbook(file: Path) -> bool:
    """Whether a zip file is a workbook. False for damaged files."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name in archive.namelist() for name in _WORKBOOKS)
    except _DAMAGED:
        return False


def unpack(file: Path, kind: str, target: Path) -> None:
    """Unpacks a file.

    Raises DatasetError when it is damaged or cut off, is an archive of several files, or does not fit on the disk.
    """
    try:
        if kind == "zip":
            _unpack_only_member(file, target)
        else:
            with _OPENERS[kind](file) as stream:
                spool.write(file, spool.chunks(stream), target)
    except _DAMAGED as error:
        why = one_line(str(error)) or type(error).__name__
        raise unreadable(file, kind, why, "it is damaged or cut off: fetch or compress it again") from error


def _unpack_only_member(file: Path, target: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not any(part in member.filename for part in _BY_SYSTEMS)
        ]
        if len(members) != 1:
            found = join_names(member.filename for member in members) or "nothing"
            raise DatasetError(
                f"{file} is a zip of {len(members):,} files, not of one ({found}): unpack it and name one"
            )
        with archive.open(members[0]) as stream:
            spool.write(file, spool.chunks(stream), target)
