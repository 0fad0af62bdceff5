"""Loads of unusual files, and loads in which something breaks: nothing is lost, and nothing is stored twice."""

import gzip
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from components.datasets.opened_files import InputFiles, open_files
from components.files.connection import ScratchError, connect
from components.files.errors import DatasetError
from components.ingestion import load_files as loading
from components.ingestion import store_events as storing
from components.ingestion.clean import clean_events
from components.ingestion.load_files import LoadReport, Progress, judge_files, load_files, no_progress
from components.mapping.rules import ColumnRule, Mapping, RoleMapping
from components.settings import EventSettings, PrivacySettings, Settings
from components.store.engine import StoreError, make_engine
from components.store.erasure import forget
from components.store.load import append_events
from components.store.loads import LoadError, list_loads
from components.store.privacy import Privacy
from components.store.undo import undo_load
from tests.support.postgres import Server, emptied, postgres_home, stored
from tests.support.raw_events import NOW

SETTINGS = Settings(events=EventSettings(earliest=date(1970, 1, 1)))
MAPPING = Mapping(
    RoleMapping(
        {
            "user_id": ColumnRule("user_id"),
            "item_id": ColumnRule("item_id"),
            "event": ColumnRule(None, {"constant": "view"}),
            "timestamp": ColumnRule("timestamp", {"format": "seconds"}),
        }
    )
)
ROWS = "SELECT 'u' || i % 7 AS user_id, 'i' || i % 5 AS item_id, 1000000000 + i * 3600 AS timestamp FROM range({}) r(i)"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "CHUNK_SIZE", 100)


@pytest.fixture
def store(store: Engine) -> Engine:
    with store.begin() as connection:
        connection.execute(text("TRUNCATE tombstones, erasures, privacy_key"))
    return store


def parquet(folder: Path, query: str) -> Path:
    """A file of the rows of a SELECT."""
    file = folder / "events.parquet"
    duckdb.execute(f"COPY ({query}) TO '{file}' (FORMAT parquet)")
    return file


def load(
    engine: Engine, file: Path, settings: Settings = SETTINGS, progress: Progress = no_progress, memory_mb: int = 300
) -> LoadReport:
    """Loads a file of events."""
    with TemporaryDirectory() as folder, connect(Path(folder), memory_mb) as connection:
        opened = open_files(connection, InputFiles(file), mapping=MAPPING)
        judged = judge_files(connection, opened, settings, source="test", now=NOW, engine=engine)
        return load_files(connection, opened, judged, engine, settings, source="test", progress=progress)


def at_first_chunk(action: Callable[[], object]) -> Progress:
    """Runs an action once some of the events are stored."""
    first = threading.Lock()

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "events" and 0 < done < total and first.acquire(blocking=False):
            action()

    return progress


def count(engine: Engine, table: str = "events") -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def test_a_user_with_very_many_events(store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "CHUNK_SIZE", 50_000)
    rows = "SELECT 'u' AS user_id, 'i' || i % 100 AS item_id, 1000000000 + i AS timestamp FROM range(200000) r(i)"
    report = load(store, parquet(tmp_path, rows))
    assert (report.accepted, count(store), count(store, "users")) == (200_000, 200_000, 1)


def test_an_item_text_of_a_megabyte(store: Engine, tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text(f"item_id,description\ni1,{'word ' * 200_000}\ni2,short\n")
    with TemporaryDirectory() as folder, connect(Path(folder)) as connection:
        fields = {name: ColumnRule(name) for name in ("item_id", "description")}
        opened = open_files(connection, InputFiles(None, file), mapping=Mapping(None, RoleMapping(fields)))
        judged = judge_files(connection, opened, SETTINGS, source="test", now=NOW, engine=store)
        assert load_files(connection, opened, judged, store, SETTINGS, source="test").items_added == 2
    with store.connect() as connection:
        assert connection.scalar(text("SELECT length(description) FROM items WHERE item_id = 'i1'")) == 999_999


def test_duplicates_and_events_out_of_order(store: Engine, tmp_path: Path) -> None:
    rows = (
        "SELECT 'u' || n % 50 AS user_id, 'i' AS item_id, 1000000000 + n * 60 - (n % 3) * 2592000 AS timestamp"
        " FROM (SELECT CASE WHEN i % 10 >= 7 THEN i - i % 10 ELSE i END AS n FROM range(2000) r(i))"
    )
    report = load(store, parquet(tmp_path, rows))
    assert (report.accepted, report.duplicates) == (1400, 600)
    assert count(store) == count(store, "event_keys") == 1400
    again = load(store, tmp_path / "events.parquet")
    assert (again.accepted, again.duplicates, count(store)) == (0, 2000, 1400)


@pytest.mark.parametrize("kind", ["parquet", "gzip"])
def test_truncated_files_are_refused_as_a_whole(store: Engine, tmp_path: Path, kind: str) -> None:
    file = parquet(tmp_path, ROWS.format(5_000))
    if kind == "gzip":
        file = tmp_path / "events.csv.gz"
        lines = "".join(f"u{n},i{n % 9},{1_000_000_000 + n}\n" for n in range(5_000))
        file.write_bytes(gzip.compress(f"user_id,item_id,timestamp\n{lines}".encode()))
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    with pytest.raises(DatasetError, match="cannot be read"):
        load(store, file)
    assert not list_loads(store) and not count(store) and not count(store, "items")


def test_connections_that_are_terminated_cost_nothing(store: Engine, database: str, tmp_path: Path) -> None:
    file = parquet(tmp_path, ROWS.format(1_000))
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    try:
        load(store, file, progress=at_first_chunk(lambda: stored(database, f"{others} AND pid <> pg_backend_pid()")))
    except StoreError:
        report = load(store, file)
        assert (report.resumed, report.accepted, report.duplicates) == (True, 1_000, 0)
    assert [run.state for run in list_loads(store)] == ["complete"]
    assert count(store) == count(store, "event_keys") == 1_000


def test_a_server_that_crashes_and_comes_back(tmp_path: Path) -> None:
    from infra.migrations import migrate

    file = parquet(tmp_path, ROWS.format(1_000))
    with postgres_home() as home:
        server = Server(home)
        url = server.start()
        try:
            migrate(url)
            with emptied(url) as engine:
                with pytest.raises(StoreError, match="duotempo up"):
                    load(engine, file, progress=at_first_chunk(server.stop))
                server.restart()
                report = load(engine, file)
                assert (report.resumed, report.accepted, count(engine)) == (True, 1_000, 1_000)
        finally:
            server.stop()


def _load_and_die(url: str, file: Path, module: str, step: str, calls: int, after: bool) -> None:
    """Loads a file, and is killed before or after a call of a step."""
    owner: Any = {"loading": loading, "storing": storing}[module]
    original, done = getattr(owner, step), []

    def die(*arguments: Any, **options: Any) -> Any:
        done.append(1)
        if len(done) == calls and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if len(done) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, step, die)
    storing.CHUNK_SIZE, storing.WORKERS = 100, 1
    load(make_engine(url), file)


STEPS = {
    "begun": ("loading", "begin_load", 1, True),
    "items stored": ("loading", "store_items", 1, True),
    "chunks planned": ("storing", "plan_chunks", 1, True),
    "a chunk stored": ("storing", "store_chunk", 2, True),
    "before the end": ("loading", "write_state", 1, False),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_same_command_continues_after_a_kill(
    store: Engine, database: str, tmp_path: Path, step: tuple[str, str, int, bool]
) -> None:
    file = parquet(tmp_path, f"{ROWS.format(450)} UNION ALL SELECT NULL, 'i0', 1000000000")
    process = multiprocessing.get_context("spawn").Process(target=_load_and_die, args=(database, file, *step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [run.state for run in list_loads(store)] == ["running"]
    report = load(store, file)
    assert (report.resumed, report.accepted, report.duplicates) == (True, 450, 0)
    assert count(store) == count(store, "event_keys") == 450
    assert count(store, "items") == 5 and count(store, "quarantine") == 1
    assert [run.state for run in list_loads(store)] == ["complete"]


def test_of_two_loads_of_one_file_at_once_one_is_refused(store: Engine, database: str, tmp_path: Path) -> None:
    file, other = parquet(tmp_path, ROWS.format(500)), make_engine(database)
    refusals: list[LoadError] = []

    def load_as_well() -> None:
        with pytest.raises(LoadError, match="in use by another process") as refused:
            load(other, file)
        refusals.append(refused.value)

    report = load(store, file, progress=at_first_chunk(load_as_well))
    assert (len(refusals), report.accepted, count(store), len(list_loads(store))) == (1, 500, 500, 1)
    other.dispose()


def test_feedback_during_an_undo_is_kept(store: Engine, database: str, tmp_path: Path) -> None:
    run = load(store, parquet(tmp_path, ROWS.format(2_000))).load_id
    stop = threading.Event()
    sent: list[int] = []
    other = make_engine(database)

    def send() -> None:
        while not stop.is_set():
            raw = {"user_id": "u1", "item_id": "i1", "event": "view", "timestamp": 1_000_000_000 + len(sent) * 3_600}
            rows = clean_events(
                [raw | {"event_id": f"live{len(sent)}"}],
                source="feedback", settings=SETTINGS.events, known_items={"i1"}, now=NOW,
            ).rows  # fmt: skip
            with other.begin() as connection:
                append_events(connection, rows)
            sent.append(1)

    sender = threading.Thread(target=send)
    sender.start()
    undone = undo_load(store, run)
    stop.set()
    sender.join()
    other.dispose()
    assert undone.events == 2_000 and sent
    assert count(store) == count(store, "event_keys") == len(sent)


def test_a_user_erased_during_a_load_stays_erased(store: Engine, database: str, tmp_path: Path) -> None:
    other = make_engine(database)

    def erase() -> None:
        with other.begin() as connection:
            forget(connection, Privacy(SETTINGS), "u3")

    report = load(store, parquet(tmp_path, ROWS.format(700)), progress=at_first_chunk(erase))
    other.dispose()
    assert report.rejected["refused"] > 0
    assert report.accepted + report.rejected["refused"] == 700
    assert count(store) == count(store, "event_keys") == 600
    assert count(store, "events WHERE user_id = 'u3'") == count(store, "users WHERE user_id = 'u3'") == 0


def test_pseudonyms_hide_users_of_loads(store: Engine, tmp_path: Path) -> None:
    secret = PrivacySettings(pseudonyms=True, key=SecretStr("k" * 32))
    private = SETTINGS.model_copy(update={"privacy": secret})
    file = parquet(tmp_path, f"{ROWS.format(300)} UNION ALL SELECT 'u1', '', 1000000000")
    report = load(store, file, private)
    assert (report.accepted, report.rejected) == (300, {"missing_item_id": 1})
    with store.connect() as connection:
        users = set(connection.scalars(text("SELECT user_id FROM events UNION SELECT user_id FROM users")))
        kept = connection.scalar(text('SELECT "row"::text FROM quarantine'))
    privacy = Privacy(private)
    assert users == {privacy.pseudonym(f"u{n}") for n in range(7)}
    assert "u1" not in str(kept).replace(privacy.pseudonym("u1"), "")
    assert load(store, file, private).duplicates == 300


def test_a_full_scratch_disk_is_named_and_nothing_is_stored(store: Engine, tmp_path: Path) -> None:
    file = parquet(
        tmp_path, "SELECT md5(i::text) AS user_id, 'i' AS item_id, 1e9 + i AS timestamp FROM range(300000) r(i)"
    )
    with TemporaryDirectory() as folder, connect(Path(folder), 40) as connection:
        connection.execute("SET max_temp_directory_size = '1MiB'")
        opened = open_files(connection, InputFiles(file), mapping=MAPPING)
        with pytest.raises(ScratchError, match="DUOTEMPO_CACHE"):
            judge_files(connection, opened, SETTINGS, source="test", now=NOW, engine=store)
    assert not list_loads(store) and not count(store)
