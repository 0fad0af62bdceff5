from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.cluster.cluster import RayClusterError
from components.embedding.encoder import EncoderError
from components.embedding.vectors import read_vectors
from components.settings import EmbeddingSettings
from flows.embed import TextsError, embed_file, read_texts


def texts_file(folder: Path, texts: list[str | None]) -> Path:
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / "texts.parquet")
    return folder / "texts.parquet"


def test_embed_file_writes_vectors(tmp_path: Path) -> None:
    file = texts_file(tmp_path, ["a comfortable sofa", "", None, "tax law", "a comfortable sofa"])
    result = embed_file(file, tmp_path / "out" / "vectors.parquet", EmbeddingSettings(), tmp_path / "cache")
    assert (result.computed, result.reused) == (2, 0)
    assert result.encoder.startswith("packaged:minilm@")
    vectors = read_vectors(tmp_path / "out" / "vectors.parquet", ["tax law", "", "a comfortable sofa"])
    np.testing.assert_array_equal(vectors, result.vectors[[3, 1, 0]])
    assert pq.read_metadata(tmp_path / "out" / "vectors.parquet").num_rows == 2


def test_failed_embedding_writes_no_vectors(tmp_path: Path) -> None:
    file = texts_file(tmp_path, ["a sofa"])
    with pytest.raises(EncoderError, match="packaged:klingon"):
        embed_file(file, tmp_path / "vectors.parquet", EmbeddingSettings(model="packaged:klingon"), tmp_path / "cache")
    assert list(tmp_path.iterdir()) == [file]


def test_unreachable_cluster_writes_no_vectors(tmp_path: Path) -> None:
    file = texts_file(tmp_path, ["a sofa"])
    with pytest.raises(RayClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
        embed_file(file, tmp_path / "vectors.parquet", EmbeddingSettings(), tmp_path / "cache", "127.0.0.1:1")
    assert not (tmp_path / "vectors.parquet").exists()


def test_unreadable_texts_file_is_named(tmp_path: Path) -> None:
    for broken in ("missing.parquet", "empty.parquet", "other.parquet"):
        (tmp_path / "empty.parquet").touch()
        pq.write_table(pa.table({"title": ["a sofa"]}), tmp_path / "other.parquet")
        with pytest.raises(TextsError, match=broken):
            read_texts(tmp_path / broken)
