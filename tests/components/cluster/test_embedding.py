"""A cluster computes the same vectors as one process, even when nodes die."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from components.cluster.embedding import BLOCK_SIZE, embed_on_cluster
from components.embedding.embed import Embeddings, embed
from components.embedding.encoder import EncoderError
from components.settings import EmbeddingSettings
from tests.support import tiny_models
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from ray._private.node import Node
    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.long
ROUNDING = 1e-5
"""Tolerance for unit vectors in float32: padding depends on the batch, and the order of sums on padding."""
WORDS = ("warm", "wooden", "lamp", "chair", "kettle", "desk", "木椅", "台灯")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingSettings:
    """A tiny decoder; a text takes about a millisecond."""
    model = tiny_models.gpt2(tmp_path_factory.mktemp("model"))
    return EmbeddingSettings(model=str(model), pooling="last", max_length=48, batch_size=16)


def sentences(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [f"{number} {' '.join(rng.choice(WORDS, rng.integers(1, 9)))}" for number in range(count)]


def assert_equal(result: Embeddings, expected: Embeddings) -> None:
    np.testing.assert_allclose(result.vectors, expected.vectors, atol=ROUNDING)
    fields = ("computed", "reused", "encoder", "revision", "dimension", "unknown_share", "warnings", "device")
    assert [getattr(result, name) for name in fields] == [getattr(expected, name) for name in fields]


def test_a_cluster_gives_the_vectors_of_one_process(
    settings: EmbeddingSettings, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = sentences(3 * BLOCK_SIZE)
    cached = embed(texts[:100], settings, tmp_path / "cluster", progress=False)
    requested = [*texts, "", texts[7], "  "]
    cluster_result = embed_on_cluster(requested, settings, tmp_path / "cluster", address, progress=True)
    stderr = capsys.readouterr().err
    local_result = embed(requested, settings, tmp_path / "alone", progress=False)
    assert_equal(cluster_result, replace(local_result, computed=len(texts) - 100, reused=cached.computed))
    assert f"{len(texts) - 100}/{len(texts) - 100}" in stderr
    assert "texts/s" in stderr
    second_run = embed_on_cluster(requested, settings, tmp_path / "cluster", address, progress=False)
    assert (second_run.computed, second_run.reused) == (0, len(texts))
    np.testing.assert_array_equal(second_run.vectors, cluster_result.vectors)


def test_chinese_texts_go_to_the_multilingual_encoder(address: str, tmp_path: Path) -> None:
    texts = ["降噪蓝牙耳机", "儿童积木玩具", "手冲咖啡壶"]
    cluster_result = embed_on_cluster(texts, EmbeddingSettings(), tmp_path / "cluster", address, progress=False)
    assert cluster_result.encoder.startswith("packaged:multilingual@")
    assert_equal(cluster_result, embed(texts, EmbeddingSettings(), tmp_path / "alone", progress=False))


def test_an_error_of_an_actor_is_raised_as_in_one_process(address: str, tmp_path: Path) -> None:
    model = tiny_models.bert(tmp_path / "model")
    (model / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"cannot be loaded by transformers' AutoModel .*check that it is complete"):
        embed_on_cluster(["a lamp"], EmbeddingSettings(model=str(model)), tmp_path / "cache", address, progress=False)


@pytest.fixture
def third_node(cluster: "Cluster") -> Iterator["Node"]:
    """A third node with one CPU, to be killed."""
    node = cluster.add_node(num_cpus=1)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


def is_computing(node: "Node") -> bool:
    """Whether an actor on the node is computing a block."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for child in raylet.children():
        with suppress(psutil.Error):  # the process may have ended
            if any("MapWorker" in part and "submit" in part for part in child.cmdline()):
                return True
    return False


def test_a_killed_node_costs_no_vector(
    settings: EmbeddingSettings, cluster: "Cluster", third_node: "Node", address: str, tmp_path: Path
) -> None:
    texts = sentences(24 * BLOCK_SIZE)

    def kill() -> int:
        eventually(lambda: is_computing(third_node) and list(tmp_path.glob("cluster/*/*.parquet")), seconds=120)
        cluster.remove_node(third_node, allow_graceful=False)
        return len(list(tmp_path.glob("cluster/*/*.parquet")))

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        cluster_result = embed_on_cluster(texts, settings, tmp_path / "cluster", address, progress=False)
        assert 0 < killed.result() < 24
    assert_equal(cluster_result, embed(texts, settings, tmp_path / "alone", progress=False))
