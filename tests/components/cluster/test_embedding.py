"""Vectors made by a cluster are those that one process makes, whatever dies on the way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from components.cluster.embedding import TEXTS, embed_together
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
"""Of unit vectors in float32: a text's padding depends on its batch, and with it the order of sums."""
WORDS = ("warm", "wooden", "lamp", "chair", "kettle", "desk", "木椅", "台灯")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingSettings:
    """A tiny decoder, so that a text costs a millisecond."""
    model = tiny_models.gpt2(tmp_path_factory.mktemp("model"))
    return EmbeddingSettings(model=str(model), pooling="last", max_length=48, batch_size=16)


def sentences(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [f"{number} {' '.join(rng.choice(WORDS, rng.integers(1, 9)))}" for number in range(count)]


def assert_equal(found: Embeddings, expected: Embeddings) -> None:
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=ROUNDING)
    told = ("computed", "reused", "encoder", "revision", "dimension", "unknown_share", "warnings", "device")
    assert [getattr(found, name) for name in told] == [getattr(expected, name) for name in told]


def test_a_cluster_gives_the_vectors_of_one_process(
    settings: EmbeddingSettings, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = sentences(3 * TEXTS)
    known = embed(texts[:100], settings, tmp_path / "cluster", progress=False)
    asked = [*texts, "", texts[7], "  "]
    together = embed_together(asked, settings, tmp_path / "cluster", address, progress=True)
    shown = capsys.readouterr().err
    alone = embed(asked, settings, tmp_path / "alone", progress=False)
    assert_equal(together, replace(alone, computed=len(texts) - 100, reused=known.computed))
    assert f"{len(texts) - 100}/{len(texts) - 100}" in shown
    assert "texts/s" in shown
    again = embed_together(asked, settings, tmp_path / "cluster", address, progress=False)
    assert (again.computed, again.reused) == (0, len(texts))
    np.testing.assert_array_equal(again.vectors, together.vectors)


def test_texts_that_the_english_encoder_cannot_read_go_to_the_multilingual_one(address: str, tmp_path: Path) -> None:
    texts = ["降噪蓝牙耳机", "儿童积木玩具", "手冲咖啡壶"]
    together = embed_together(texts, EmbeddingSettings(), tmp_path / "cluster", address, progress=False)
    assert together.encoder.startswith("packaged:multilingual@")
    assert_equal(together, embed(texts, EmbeddingSettings(), tmp_path / "alone", progress=False))


def test_what_stops_an_actor_is_told_as_if_it_worked_alone(address: str, tmp_path: Path) -> None:
    model = tiny_models.bert(tmp_path / "model")
    (model / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"cannot be loaded by transformers' AutoModel .*check that it is complete"):
        embed_together(["a lamp"], EmbeddingSettings(model=str(model)), tmp_path / "cache", address, progress=False)


@pytest.fixture
def mortal(cluster: "Cluster") -> Iterator["Node"]:
    """A third node of one CPU."""
    node = cluster.add_node(num_cpus=1)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


def at_work(node: "Node") -> bool:
    """Whether an actor of the node computes a block."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for child in raylet.children():
        with suppress(psutil.Error):  # it may end in the meantime
            if any("MapWorker" in part and "submit" in part for part in child.cmdline()):
                return True
    return False


def test_a_killed_node_costs_no_vector(
    settings: EmbeddingSettings, cluster: "Cluster", mortal: "Node", address: str, tmp_path: Path
) -> None:
    texts = sentences(24 * TEXTS)

    def kill() -> int:
        eventually(lambda: at_work(mortal) and list(tmp_path.glob("cluster/*/*.parquet")), seconds=120)
        cluster.remove_node(mortal, allow_graceful=False)
        return len(list(tmp_path.glob("cluster/*/*.parquet")))

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        together = embed_together(texts, settings, tmp_path / "cluster", address, progress=False)
        assert 0 < killed.result() < 24
    assert_equal(together, embed(texts, settings, tmp_path / "alone", progress=False))
