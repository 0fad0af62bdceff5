from pathlib import Path

import numpy as np
import pytest

from components.embedding.vectors import VectorsError, read_vectors, text_hash, write_vectors

TEXTS = ["a lamp", "一把木椅", "a chair"]
VECTORS = np.eye(3, 4, dtype=np.float32)


def test_vectors_are_read_in_the_order_of_the_texts(tmp_path: Path) -> None:
    file = tmp_path / "new" / "vectors.parquet"
    write_vectors(file, [text_hash(text) for text in TEXTS], VECTORS)
    read = read_vectors(file, ["a chair", "", "a lamp", "a chair", " "])
    np.testing.assert_array_equal(read, [VECTORS[2], np.zeros(4), VECTORS[0], VECTORS[2], np.zeros(4)])
    assert read.dtype == np.float32
    assert [path.name for path in file.parent.iterdir()] == ["vectors.parquet"]


def test_a_file_without_texts(tmp_path: Path) -> None:
    write_vectors(tmp_path / "vectors.parquet", [], np.zeros((0, 4), np.float32))
    assert read_vectors(tmp_path / "vectors.parquet", ["", ""]).shape == (2, 4)


def test_a_missing_text_is_an_error(tmp_path: Path) -> None:
    write_vectors(tmp_path / "vectors.parquet", [text_hash(text) for text in TEXTS], VECTORS)
    with pytest.raises(VectorsError, match="1 of 2 texts, such as 'a sofa'"):
        read_vectors(tmp_path / "vectors.parquet", ["a lamp", "a sofa"])


def test_a_missing_or_damaged_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "vectors.parquet"
    with pytest.raises(VectorsError, match="does not exist"):
        read_vectors(file, TEXTS)
    write_vectors(file, [text_hash(text) for text in TEXTS], VECTORS)
    whole = file.read_bytes()
    at = whole.index(VECTORS.tobytes())
    for damaged in (whole[: at + 8], whole[:at] + b"\xff" + whole[at + 1 :], b""):
        file.write_bytes(damaged)
        with pytest.raises(VectorsError, match=r"vectors\.parquet holds no readable vectors"):
            read_vectors(file, TEXTS)


def test_an_unwritable_path_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "vectors.parquet"
    file.mkdir()
    with pytest.raises(VectorsError, match="cannot be written"):
        write_vectors(file, [text_hash("a lamp")], VECTORS[:1])
    assert list(tmp_path.iterdir()) == [file]
