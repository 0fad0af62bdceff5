"""Compressed files are unpacked by their content; damaged ones, archives and bombs are refused."""

import bz2
import gzip
import io
import lzma
import shutil
import zipfile
from collections import namedtuple

import pyarrow as pa
import pytest

from components.files import spool
from tests.components.files.conftest import Open, Refused

CONTENT = b"user_id;item_id\n" + b"".join(b"u%d;%d\n" % (number, number * 7919) for number in range(20_000))
Usage = namedtuple("Usage", "total used free")


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        archive.writestr("__MACOSX/._rows.csv", b"x")
        for name, content in files.items():
            archive.writestr(f"folder/{name}.csv", content)
    return buffer.getvalue()


PACKED = {
    "gzip": gzip.compress(CONTENT, mtime=0),
    "zstd": pa.compress(CONTENT, codec="zstd", asbytes=True),
    "zip": zipped(rows=CONTENT),
    "bzip2": bz2.compress(CONTENT),
    "xz": lzma.compress(CONTENT),
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.packed", "rows"])
def test_a_compressed_file_is_read_whatever_its_ending(kind: str, name: str, open_file: Open) -> None:
    table, rows = open_file(name, PACKED[kind])
    assert len(rows) == 20_000
    assert rows[1] == ("u1", "7919")
    assert table.notes == (kind, "delimiter ;")


def test_streams_that_follow_each_other_are_read(open_file: Open) -> None:
    assert open_file("rows.gz", PACKED["gzip"] + gzip.compress(b"last;1\n", mtime=0))[0].rows == 20_001
    second = pa.compress(b"last;1\n", codec="zstd", asbytes=True)
    assert open_file("rows.zst", PACKED["zstd"] + second)[0].rows == 20_001


def test_json_and_parquet_are_read_when_compressed(open_file: Open) -> None:
    assert open_file("rows.jsonl.gz", gzip.compress(b'{"a": 1}\n', mtime=0))[1] == [("1",)]


@pytest.mark.parametrize("kind", PACKED)
def test_a_file_that_is_cut_off_is_refused(kind: str, refused: Refused) -> None:
    message = refused("rows.csv.packed", PACKED[kind][: len(PACKED[kind]) // 2])
    assert f"cannot be read as {kind}" in message
    assert "damaged or cut off" in message


def test_an_archive_of_several_files_is_refused(refused: Refused) -> None:
    message = refused("rows.zip", zipped(ratings=CONTENT, movies=CONTENT))
    assert "a zip of 2 files, not of one (folder/ratings.csv, folder/movies.csv)" in message
    assert "a zip of 0 files" in refused("rows.zip", zipped())


def test_a_file_compressed_twice_is_refused(refused: Refused) -> None:
    assert "compressed more than once" in refused("rows.gz", gzip.compress(PACKED["gzip"], mtime=0))


def test_a_bomb_stops_before_the_disk_is_full(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip of 10 MB, on a disk with 1 MB to spare."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, spool.MIN_FREE + 1_000_000))
    bomb = gzip.compress(CONTENT * 40, mtime=0)
    message = refused("rows.csv.gz", bomb)
    assert "GiB of disk when unpacked" in message
    assert "split it" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"%PDF-1.7", "a PDF document"),
        (b"<!DOCTYPE html><title>404</title>", "HTML or XML"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (bytes(range(256)) * 10, "it is binary"),
        (b"x" * 257 + b"ustar\x00", "a tar archive"),
        (gzip.compress(b"x" * 257 + b"ustar\x00", mtime=0), "a tar archive"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_its_name(content: bytes, message: str, refused: Refused) -> None:
    assert message in refused("rows.csv", content)
