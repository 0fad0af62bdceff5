"""Sources of the settings: loaded incrementally, killed and continued, refused, taken back."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from components.core import files
from components.ingestion import load_files, load_source, store_events
from components.ingestion.load_source import IngestRefused, fetch_source
from components.settings import IngestSettings, Settings, SourceSettings
from components.sources import batch, postgres
from components.sources.source import SourceError
from components.store import event_chunks
from components.store.engine import make_engine
from components.store.loads import LoadError, list_loads
from components.store.undo import undo_load
from components.store.watermarks import exclusive_source, read_watermark
from tests.support.postgres import emptied, stored
from tests.support.source_database import ShopDatabase, shop_database

NOW = datetime(2026, 2, 1, tzinfo=UTC)
MAPPING = """
[events]
user_id = "customer"
item_id = "product"
timestamp = "ordered_at"
event = { constant = "purchase" }
"""
ORDERS = [(number, f"u{number % 7}", "abc"[number % 3]) for number in range(1, 46)]


@pytest.fixture
def store(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        yield engine


@pytest.fixture
def shop(postgres_url: str) -> Iterator[ShopDatabase]:
    with shop_database(postgres_url, ORDERS) as shop:
        yield shop


def settings_of(shop: ShopDatabase, folder: Path, mapping: str | None = MAPPING, **changes: Any) -> Settings:
    """A platform with the source `orders`."""
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets" / "source-orders").write_text(f"{shop.password}\n")
    if mapping is not None:
        (folder / "orders.toml").write_text(mapping)
    query = "SELECT id, customer, product, ordered_at, updated_at FROM orders"
    described = {"query": query, "mapping": folder / "orders.toml", "role": "events", "watermark": "updated_at"}
    source = SourceSettings.model_validate({"address": shop.address, **described, **changes})
    return Settings(home=folder, cache=folder / "cache", ingest=IngestSettings(sources={"orders": source}))


def run(settings: Settings, engine: Engine) -> tuple[int, int] | None:
    """Loads what is new; returns how many events were accepted and how many were duplicates."""
    fetched = fetch_source(settings, "orders", engine)
    if fetched.path is None:
        return None
    report = load_source.load_source(settings, "orders", fetched, engine, NOW).report
    return report.accepted, report.duplicates


def events(engine: Engine) -> list[tuple[object, ...]]:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return stored(url, "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM quarantine)")


def test_each_run_loads_what_is_new(store: Engine, shop: ShopDatabase, tmp_path: Path) -> None:
    settings = settings_of(shop, tmp_path)
    assert run(settings, store) == (45, 0)
    assert run(settings, store) is None
    shop.order((46, "u1", "a"))
    assert run(settings, store) == (1, 1)
    assert read_watermark(store, "orders") == "2026-01-07 10:00:00+00"
    assert events(store) == [(46, 0)]
    assert list((tmp_path / "ingest").iterdir()) == []


def test_late_rows_are_read_again_by_the_overlap(store: Engine, shop: ShopDatabase, tmp_path: Path) -> None:
    settings = settings_of(shop, tmp_path, overlap=3 * 3600)
    run(settings, store)
    shop.order((47, "u1", "a"))
    run(settings, store)
    shop.order((46, "late", "a"), (48, "u1", "b"))
    assert run(settings, store) == (2, 3)
    assert events(store) == [(48, 0)]


POINTS = (
    (postgres, "_copy", "before"),
    (files.Path, "replace", "before"),
    (batch, "fetch", "after"),
    (load_source, "judge_files", "before"),
    (load_files, "store_items", "after"),
    (event_chunks, "_copy_all", "after"),
    (load_files, "_quarantine", "after"),
    (load_files, "write_state", "before"),
    (load_source, "move_watermark", "after"),
    (load_source, "remove_batch", "before"),
)
"""Functions before or after which a process is killed, in the order of a run."""


def _run_and_die(settings: Settings, url: str, point: int) -> None:
    """Runs, and is killed at one of the points: of several calls in the last one."""
    place, name, when = POINTS[point]
    function = getattr(place, name)
    calls = {"_copy_all": 3, "_quarantine": 2}.get(name, 1)

    def die(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls -= 1
        if calls == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, die)
    store_events.CHUNK_SIZE, store_events.WORKERS = 10, 1
    run(settings, make_engine(url))


def test_killed_anywhere_the_next_run_continues_and_nothing_is_lost_or_twice(
    store: Engine, shop: ShopDatabase, tmp_path: Path, database: str
) -> None:
    shop.order((46, "  ", "a"), (47, " ", "b"))
    settings = settings_of(shop, tmp_path)
    for point in range(len(POINTS)):
        process = multiprocessing.get_context("spawn").Process(target=_run_and_die, args=(settings, database, point))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, POINTS[point]
        is_complete = point == len(POINTS) - 1
        assert (read_watermark(store, "orders") is not None) == is_complete, POINTS[point]
        assert [load.state for load in list_loads(store)] in ([], ["complete" if is_complete else "running"])
    assert events(store) == [(45, 2)]
    assert run(settings, store) is None
    assert events(store) == [(45, 2)]
    assert list((tmp_path / "ingest").iterdir()) == []


def test_rows_that_came_after_the_kill_come_with_the_next_run(
    store: Engine, shop: ShopDatabase, tmp_path: Path
) -> None:
    settings = settings_of(shop, tmp_path)
    fetch_source(settings, "orders", store)
    shop.order((46, "u1", "a"))
    assert run(settings, store) == (45, 0)
    assert run(settings, store) == (1, 1)


def test_a_source_without_a_mapping_is_refused_with_its_lines(
    store: Engine, shop: ShopDatabase, tmp_path: Path
) -> None:
    settings = settings_of(shop, tmp_path, mapping=None)
    with pytest.raises(IngestRefused, match=r"orders\.toml does not exist") as caught:
        run(settings, store)
    message = str(caught.value)
    assert (
        "duotempo inspect --from orders" in message and "\n[events]\n" in message and 'user_id = "customer"' in message
    )
    assert (events(store), list(list_loads(store))) == ([(0, 0)], [])
    settings_of(shop, tmp_path)
    assert run(settings, store) == (45, 0)


def test_too_many_rejected_rows_refuse_all(store: Engine, shop: ShopDatabase, tmp_path: Path) -> None:
    shop.run("UPDATE orders SET customer = '  ' WHERE id > 10")
    settings = settings_of(shop, tmp_path)
    with pytest.raises(IngestRefused, match=r"78% of the rows would be rejected \(missing_user_id: 35\)"):
        run(settings, store)
    assert (events(store), read_watermark(store, "orders")) == ([(0, 0)], None)
    shop.run("UPDATE orders SET customer = 'u' || id")
    assert run(settings, store) == (45, 0)


def test_an_undone_load_is_read_again(store: Engine, shop: ShopDatabase, tmp_path: Path) -> None:
    settings = settings_of(shop, tmp_path)
    run(settings, store)
    first = read_watermark(store, "orders")
    shop.order((46, "u1", "a"))
    run(settings, store)
    undo_load(store, list_loads(store)[0].load_id)
    assert read_watermark(store, "orders") == first
    assert run(settings, store) == (1, 1)
    undo_load(store, list_loads(store)[-1].load_id)
    assert read_watermark(store, "orders") is None
    run(settings, store)
    assert events(store) == [(46, 0)]


def test_one_process_loads_a_source_at_a_time(store: Engine) -> None:
    with (
        exclusive_source(store, "orders"),
        pytest.raises(LoadError, match="orders is being loaded by another process"),
        exclusive_source(store, "orders"),
    ):
        pass
    with exclusive_source(store, "orders"):
        pass


def test_the_secret_may_come_from_the_environment(
    store: Engine, shop: ShopDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(shop, tmp_path)
    (tmp_path / "secrets" / "source-orders").write_text("wrong")
    with pytest.raises(SourceError, match="password authentication failed"):
        run(settings, store)
    monkeypatch.setenv("DUOTEMPO_SOURCE_ORDERS_SECRET", shop.password)
    assert run(settings, store) == (45, 0)


def test_settings_keep_no_password_and_unknown_names_are_errors(store: Engine) -> None:
    for address in ("postgresql://me:s3cret@host/shop", "postgresql://host/shop?user=me&password=s3cret"):
        with pytest.raises(ValueError, match="contains a password; write it into HOME/secrets/source-NAME"):
            SourceSettings(address=address)
    with pytest.raises(SourceError, match=r"there is no source 'x': describe it in \[ingest.sources.x\]"):
        fetch_source(Settings(), "x", store)
