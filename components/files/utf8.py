"""Checks that a whole file is UTF-8, and converts it if not."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from components.files import spool
from components.files.encoding import detect, display_name, marked_encoding
from components.files.errors import DatasetError

_HEAD = 64 << 10
_SAMPLE = 64 << 10
"""Bytes of lines beyond ASCII from which the encoding is detected."""
_ODD_LINE = re.compile(rb"[^\n]{0,2000}[\x80-\xff][^\n]{0,2000}")
_FIX = "save it as UTF-8, or name its encoding: --encoding cp1250, koi8-r, big5 or another"


def as_utf8(source: Path, file: Path, target: Path, encoding: str | None) -> tuple[Path, list[str]]:
    """A UTF-8 copy of a text file, or the file itself if it is UTF-8; and a note about its encoding.

    Args:
        source: The file as the user named it, for messages.
        target: Where a copy is written.
        encoding: The file's encoding, if the user named it.

    Raises:
        DatasetError: The encoding is unknown, or a line is not in it.
    """
    if encoding is not None:
        try:
            encoding = codecs.lookup(encoding).name
        except LookupError as error:
            examples = "utf-8, cp1250, cp1252, koi8-r, gb18030, big5 or shift_jis"
            raise DatasetError(f"{source}: no encoding is named {encoding}; try --encoding {examples}") from error
        origin = "as named"
    else:
        with file.open("rb") as stream:
            encoding = marked_encoding(stream.read(_HEAD))
        origin = "by its first bytes"
    if encoding in (None, "utf-8", "utf-8-sig"):
        try:
            for _ in _decoded(file, "utf-8"):
                pass
            return file, []
        except UnicodeDecodeError as error:
            if encoding is not None:
                raise _undecodable(source, file, "utf-8", error) from error
            encoding, origin = _detected(source, file, error), "detected"
    assert encoding is not None
    try:
        parts = (text.encode("utf-8") for text in _decoded(file, encoding))
        return spool.write(source, parts, target), [f"encoding {display_name(encoding)} ({origin})"]
    except UnicodeError as error:
        raise _undecodable(source, file, encoding, error) from error


def _decoded(file: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    with file.open("rb") as stream:
        for chunk in spool.chunks(stream):
            yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _detected(source: Path, file: Path, error: UnicodeDecodeError) -> str:
    """The encoding of a file that is not UTF-8. Raises DatasetError when most of it is UTF-8, or none is likely."""
    sample = bytearray()
    with file.open("rb") as stream:
        for chunk in spool.chunks(stream):
            for line in _ODD_LINE.finditer(chunk):
                sample += line[0] + b"\n"
                if len(sample) >= _SAMPLE:
                    break
            if len(sample) >= _SAMPLE:
                break
    text = sample.decode("utf-8", errors="replace")
    valid = sum(character > "\x7f" and character != "\ufffd" for character in text)
    encoding = detect(bytes(sample)) if valid <= text.count("\ufffd") else None
    if encoding is None:
        raise _undecodable(source, file, "utf-8", error) from error
    return encoding


def _undecodable(source: Path, file: Path, encoding: str, error: UnicodeError) -> DatasetError:
    reason = getattr(error, "reason", error)
    return DatasetError(
        f"{source} is not {display_name(encoding)} (line {_bad_line(file, encoding):,}: {reason}); {_FIX}"
    )


def _bad_line(file: Path, encoding: str) -> int:
    """The number of the first line that cannot be decoded."""
    breaks = 0
    try:
        for text in _decoded(file, encoding):
            breaks += text.count("\n")
    except UnicodeDecodeError as error:
        breaks += error.object[: error.start].decode(encoding, errors="replace").count("\n")
    return breaks + 1
