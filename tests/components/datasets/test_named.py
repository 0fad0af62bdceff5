"""Datasets by name: search order, downloads, and the real ML-100K."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from components.core.columns import EVENTS
from components.datasets.chinese import chinese_sample
from components.datasets.named import NAMES, download, download_wheel, get
from components.datasets.sources import read_folder
from components.files.errors import DatasetError
from components.ingestion.clean import clean_events, clean_items
from components.ingestion.frames import records
from components.settings import EventSettings, Settings
from tests.support.raw_events import NOW


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path / "cache", data_dir=None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of an HTTP server and the folder that it serves."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_the_real_ml_100k_is_downloaded_and_cached(settings: Settings) -> None:
    folder = get("ml-100k", settings)
    assert folder == settings.cache / "datasets" / "ml-100k"
    dataset = read_folder(folder)
    events, items = dataset.events, dataset.items
    assert (len(events), events["user_id"].nunique(), events["item_id"].nunique()) == (100_000, 943, 1_682)
    assert events.iloc[0].tolist()[:5] == ["196", "242", 881_250_949, "rating", 3.0]
    assert items.set_index("item_id")["title"]["1"] == "Toy Story (1995)"
    assert dataset.text == ("title", "category")
    assert "Licence" in (folder / "SOURCE.md").read_text()
    assert [file.name for file in folder.parent.iterdir()] == ["ml-100k"], "nothing partial is left"
    written = (folder / "interactions.parquet").stat().st_mtime_ns
    assert get("ml-100k", settings) == folder
    assert (folder / "interactions.parquet").stat().st_mtime_ns == written, "the cache is used"


def test_the_data_folder_comes_first(settings: Settings, tmp_path: Path) -> None:
    dataset_folder = tmp_path / "data" / "ml-100k"
    dataset_folder.mkdir(parents=True)
    pd.DataFrame({"user_id": ["u"]}).to_parquet(dataset_folder / "interactions.parquet")
    assert get("ml-100k", settings.model_copy(update={"data_dir": tmp_path / "data"})) == dataset_folder


def test_any_folder_of_the_data_folder_is_a_dataset(settings: Settings, tmp_path: Path) -> None:
    dataset_folder = tmp_path / "data" / "my-shop"
    dataset_folder.mkdir(parents=True)
    pd.DataFrame({"user_id": ["u"]}).to_parquet(dataset_folder / "interactions.parquet")
    assert get("my-shop", settings.model_copy(update={"data_dir": tmp_path / "data"})) == dataset_folder


def test_an_unknown_name_lists_known_names_and_searched_folders(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        get("ml-1b", settings.model_copy(update={"data_dir": tmp_path / "data"}))
    for part in (*NAMES, str(tmp_path / "data" / "ml-1b"), str(settings.cache / "datasets" / "ml-1b")):
        assert part in str(raised.value)


def test_a_download_is_verified(site: tuple[str, Path]) -> None:
    address, folder = site
    (folder / "data.zip").write_bytes(b"content")
    good = hashlib.sha256(b"content").hexdigest()
    assert download(f"{address}/data.zip", good) == b"content"
    with pytest.raises(DatasetError, match=f"data.zip has sha256 {good}, published is 00"):
        download(f"{address}/data.zip", "00")
    with pytest.raises(DatasetError, match="cannot be fetched: HTTP Error 404"):
        download(f"{address}/absent.zip", good)


def test_an_unreachable_url_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"127\.0\.0\.1:1/data\.zip cannot be fetched"):
        download("http://127.0.0.1:1/data.zip", "00")


def test_a_missing_wheel_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"`pip download recbole==0\.0\.0` failed"):
        download_wheel("recbole==0.0.0", "00")


def test_an_unwritable_cache_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="set DUOTEMPO_CACHE"):
        get("chinese-sample", Settings(cache=tmp_path / "file", data_dir=None))


def test_the_chinese_sample_is_valid_and_has_every_event_type(settings: Settings) -> None:
    folder = get("chinese-sample", settings)
    dataset = read_folder(folder)
    assert json.loads((folder / "dataset.json").read_text())["text"] == ["title", "category", "description"]
    items = clean_items(records(dataset.items), source="test")
    events = clean_events(
        records(dataset.events),
        source="test",
        settings=EventSettings(),
        known_items={item.item_id for item in items.rows},
        now=NOW,
    )
    assert len(items.rejected) == len(events.rejected) == events.duplicates == 0
    assert (len(items.rows), len({event.user_id for event in events.rows})) == (120, 60)
    assert 2_000 < len(events.rows) < 3_000
    assert {event.event for event in events.rows} == set(EVENTS)
    assert dataset.items["title"].str.contains(r"[\u4e00-\u9fff]").all()


def test_the_chinese_sample_has_long_and_short_term_interests() -> None:
    interactions, items = chinese_sample()
    category = interactions["item_id"].map(items.set_index("item_id")["category"])
    late = interactions["timestamp"] >= interactions["timestamp"].max() - 5 * 86_400
    visits = interactions["event"] == "view"
    for user, rows in interactions[visits].groupby("user_id"):
        before, after = category[rows.index][~late[rows.index]], category[rows.index][late[rows.index]]
        assert before.value_counts().head(2).sum() / len(before) > 0.6, user
        assert after.mode()[0] not in set(before.value_counts().head(2).index), user


def test_the_chinese_sample_is_deterministic() -> None:
    for first, second in zip(chinese_sample(), chinese_sample(), strict=True):
        pd.testing.assert_frame_equal(first, second)
