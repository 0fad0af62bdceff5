"""Connection errors say how to fix them within a bounded time; nothing falls back to a single process."""

import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components.cluster import cluster as module
from components.cluster.cluster import RayClusterError, connected, device_count, devices
from components.cluster.embedding import embed_on_cluster
from components.cluster.interests import build_interests_on_cluster
from components.settings import EmbeddingSettings, EventSettings, InterestSettings
from tests.support import interests as toy_interests

METADATA = b"CLUSTER_METADATA", b"cluster"


def embed(address: str, folder: Path) -> None:
    embed_on_cluster(["a lamp"], EmbeddingSettings(), folder, address, progress=False)


def interests(address: str, folder: Path) -> None:
    anchors = pd.DataFrame({"user_id": ["ann"], "as_of": pd.Series([toy_interests.CUT], dtype="datetime64[us, UTC]")})
    events = toy_interests.history(toy_interests.event("ann", "d1", 1.0))
    keywords = toy_interests.extract_keywords(toy_interests.item_texts(toy_interests.catalogue()), 8)
    build_interests_on_cluster(
        events, toy_interests.catalogue(), anchors, keywords, InterestSettings(), EventSettings(), address
    )


@pytest.mark.parametrize("run_on_cluster", [embed, interests])
def test_an_unreachable_address_is_an_error(run_on_cluster: Callable[[str, Path], None], tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(RayClusterError, match=rf"no Ray cluster answers at {address}.*DUOTEMPO_RAY_ADDRESS"):
            run_on_cluster(address, tmp_path)


def test_a_server_that_is_no_cluster_fails_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATUS_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RayClusterError, match=rf"{address} is not a Ray cluster.*ray start --head"):
            embed(address, tmp_path)


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "head", "head:port"])
def test_an_unsupported_address_format_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(RayClusterError, match=r"is not like HOST:6379"):
        embed(address, tmp_path)


def test_without_ray_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayClusterError, match=r"head:6379 asks for it: pip install 'duotempo\[ray\]'"):
        embed("head:6379", tmp_path)


@pytest.mark.long
def test_a_cluster_of_another_version_is_refused(address: str) -> None:
    import ray
    from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

    with connected(address):
        metadata = _internal_kv_get(METADATA[0], namespace=METADATA[1])
        _internal_kv_put(
            METADATA[0],
            json.dumps({**json.loads(metadata), "ray_version": "2.9.0"}),
            overwrite=True,
            namespace=METADATA[1],
        )
    try:
        with (
            pytest.raises(RayClusterError, match=rf"(?s){address}.*2\.9\.0.*install its version of Ray here"),
            connected(address),
        ):
            pass
    finally:
        client = ray._raylet.GcsClient(address=address)  # type: ignore[attr-defined]
        client.internal_kv_put(METADATA[0], metadata, True, METADATA[1])


@pytest.mark.long
def test_disconnecting_restores_the_process(address: str) -> None:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    with connected(address):
        assert devices() == ("CPU", 2)
        with pytest.raises(RayClusterError, match="has no GPU: add a node"):
            device_count("GPU")
        assert signal.getsignal(signal.SIGTERM) is before
    assert not ray.is_initialized()
