"""Snapshots of a real Postgres, with and without free disk space."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from components.settings import Settings
from components.store.bulk import EVENT_COLUMNS, ITEM_COLUMNS
from components.store.partitions import ensure_partitions
from components.store.snapshot import Snapshot, SnapshotError, latest_snapshot, take_snapshot
from tests.support.loading import ingest
from tests.support.raw_events import NOW, raw_events, shop

CUT = datetime(2024, 5, 1, tzinfo=UTC)
AT_CUT = CUT.timestamp()


@pytest.fixture
def filled(store: Engine) -> Engine:
    events = raw_events(
        [
            ("u", "b", AT_CUT - 1, "rating"),
            ("u", "a", AT_CUT - 100, "view"),
            ("v", "z", AT_CUT - 100, "view"),
            ("u", "m", AT_CUT - 100, "view"),
            ("u", "a", AT_CUT, "like"),
            ("v", "a", AT_CUT + 1, "like"),
        ],
        value=[4.0, None, None, None, None, None],
        text=['fine, "really"\nfine', None, None, None, None, None],
    )
    ingest(store, shop(events), Settings(), source="test", now=NOW)
    return store


def test_a_snapshot_contains_only_events_before_the_cut(filled: Engine, tmp_path: Path) -> None:
    events = take_snapshot(filled, CUT, tmp_path).events()
    assert len(events) == 4
    assert (events["occurred_at"] < CUT).all()


def test_frames_contain_the_ingested_data(filled: Engine, tmp_path: Path) -> None:
    snapshot = take_snapshot(filled, CUT, tmp_path)
    events, items = snapshot.events(), snapshot.items()
    assert list(events.columns) == EVENT_COLUMNS
    assert list(items.columns) == ITEM_COLUMNS
    assert events["occurred_at"].dtype == "datetime64[us, UTC]"
    assert events["item_id"].tolist() == ["a", "z", "m", "b"], "ties keep the order of arrival"
    last = events.iloc[-1]
    assert (last.value, last.text) == (4.0, 'fine, "really" fine')
    assert events["text"].isna().tolist() == [True, True, True, False]
    assert items["item_id"].tolist() == ["a", "b", "m", "z"]
    assert items["category"].tolist() == [["a", "b"]] * 4
    assert snapshot.cut == CUT


def test_users_without_consent_are_left_out(filled: Engine, tmp_path: Path) -> None:
    with filled.begin() as connection:
        connection.execute(text("UPDATE users SET consent = false WHERE user_id = 'v'"))
    assert set(take_snapshot(filled, CUT, tmp_path).events()["user_id"]) == {"u"}


def test_events_of_a_deleted_item_are_left_out_until_it_is_added_again(
    filled: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = take_snapshot(filled, CUT, tmp_path)
    with filled.begin() as connection:
        connection.execute(text("DELETE FROM items WHERE item_id = 'b'"))
    without = take_snapshot(filled, CUT, tmp_path)
    assert without.events()["item_id"].tolist() == ["a", "z", "m"]
    assert without.items()["item_id"].tolist() == ["a", "m", "z"]
    assert "1 events are left out" in caplog.text
    assert "'b'" in caplog.text
    ingest(filled, shop(raw_events([("u", "b", AT_CUT, "view")])), Settings(), source="test", now=NOW)
    again = take_snapshot(filled, CUT, tmp_path)
    assert again.events().equals(before.events())
    assert again.items()["item_id"].tolist() == ["a", "b", "m", "z"]


def test_the_same_content_and_cut_give_the_same_folder(filled: Engine, tmp_path: Path) -> None:
    first, second = (take_snapshot(filled, CUT, tmp_path) for _ in range(2))
    assert first == second
    later = take_snapshot(filled, datetime(2024, 5, 2, tzinfo=UTC), tmp_path)
    assert later.path != first.path
    assert sorted(tmp_path.iterdir()) == sorted([first.path, later.path])


def test_events_and_items_are_read_in_one_transaction(filled: Engine, tmp_path: Path) -> None:
    """An item added between the reads of events and items is not in the snapshot."""
    with filled.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute(text("LOCK TABLE items IN ACCESS EXCLUSIVE MODE"))
        taking = pool.submit(take_snapshot, filled, CUT, tmp_path)
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'items'::regclass AND NOT granted"
        while not other.scalar(text(waiting)):
            assert not taking.done()
        other.execute(text("INSERT INTO items (item_id, content_hash) VALUES ('late', '')"))
        other.commit()
        assert "late" not in set(taking.result(30).items()["item_id"])
    assert "late" in set(take_snapshot(filled, CUT, tmp_path).items()["item_id"])


def test_the_manifest_has_its_rows_and_those_of_the_previous_snapshot(filled: Engine, tmp_path: Path) -> None:
    first = take_snapshot(filled, CUT, tmp_path)
    assert first.manifest["rows"] == {"events": 4, "items": 4}
    assert first.manifest["previous_rows"] is None
    second = take_snapshot(filled, NOW, tmp_path, previous=first.path)
    assert second.manifest["previous_rows"] == {"events": 4, "items": 4}
    assert second.manifest["rows"]["events"] == 6


def test_the_latest_snapshot_has_the_latest_cut(filled: Engine, tmp_path: Path) -> None:
    assert latest_snapshot(tmp_path / "none") is None
    late = take_snapshot(filled, NOW, tmp_path)
    take_snapshot(filled, CUT, tmp_path)
    assert latest_snapshot(tmp_path) == late


@pytest.mark.parametrize("manifest", ["", "{", "[]", "{}", '{"cut": "2024-07-01T00:00:00+00:00"}'])
def test_a_damaged_snapshot_is_skipped_with_a_warning(
    filled: Engine, tmp_path: Path, manifest: str, caplog: pytest.LogCaptureFixture
) -> None:
    intact = take_snapshot(filled, CUT, tmp_path)
    damaged = tmp_path / "20240701T000000Z-000000000000"
    damaged.mkdir()
    (damaged / "manifest.json").write_text(manifest)
    assert latest_snapshot(tmp_path) == intact
    assert damaged.name in caplog.text


def test_only_the_manifest_of_the_previous_snapshot_is_read(filled: Engine, tmp_path: Path) -> None:
    previous = take_snapshot(filled, CUT, tmp_path)
    (previous.path / "events.parquet").write_bytes(b"damaged")
    assert (
        take_snapshot(filled, NOW, tmp_path, previous=previous.path).manifest["previous_rows"]
        == previous.manifest["rows"]
    )


def test_leftovers_of_a_killed_process_are_removed(filled: Engine, tmp_path: Path) -> None:
    for name, age in (("old", 7200), ("new", 60)):
        folder = tmp_path / f".partial-{name}"
        folder.mkdir()
        (folder / "events.parquet").touch()
        for path in (folder / "events.parquet", folder):
            os.utime(path, (time.time() - age,) * 2)
    take_snapshot(filled, CUT, tmp_path)
    assert [path.name for path in tmp_path.glob(".partial-*")] == [".partial-new"]


def test_only_the_owner_can_read_a_snapshot(filled: Engine, tmp_path: Path) -> None:
    assert take_snapshot(filled, CUT, tmp_path).path.stat().st_mode & 0o777 == 0o700


def test_an_empty_store_gives_an_empty_snapshot(store: Engine, tmp_path: Path) -> None:
    snapshot = take_snapshot(store, CUT, tmp_path)
    assert snapshot.manifest["rows"] == {"events": 0, "items": 0}
    assert list(snapshot.events().columns) == EVENT_COLUMNS


def test_a_changed_file_is_detected(filled: Engine, tmp_path: Path) -> None:
    path = take_snapshot(filled, CUT, tmp_path).path
    pd.read_parquet(path / "events.parquet")[:2].to_parquet(path / "events.parquet")
    with pytest.raises(SnapshotError, match=r"events\.parquet is not what its manifest says"):
        Snapshot.open(path)
    with pytest.raises(SnapshotError, match="no readable snapshot"):
        Snapshot.open(tmp_path / "absent")


FILL = """
import json, resource, sys
from datetime import datetime
from pathlib import Path
from components.store.engine import make_engine
from components.store.partitions import ensure_partitions
from components.store.snapshot import SnapshotError, take_snapshot

url, folder, cut = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
try:
    take_snapshot(make_engine(url), datetime.fromisoformat(cut), Path(folder))
except SnapshotError as error:
    sys.stdout.write(json.dumps({"error": str(error), "left": [p.name for p in Path(folder).iterdir()]}))
"""


def test_a_full_disk_is_reported_and_leaves_nothing_behind(filled: Engine, database: str, tmp_path: Path) -> None:
    """The child's files are limited to 2,000 bytes, so the write fails halfway, as on a full disk."""
    folder = tmp_path / "snapshots"
    done = subprocess.run(
        [sys.executable, "-c", FILL, database, str(folder), CUT.isoformat()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    result = json.loads(done.stdout or done.stderr)
    assert str(folder) in result["error"]
    assert "MiB free there" in result["error"]
    assert "free some space" in result["error"]
    assert result["left"] == []


def test_a_folder_that_cannot_be_created_is_named(filled: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SnapshotError, match="cannot be written into"):
        take_snapshot(filled, CUT, tmp_path / "file" / "snapshots")


def test_every_text_number_and_time_is_copied_exactly(store: Engine, tmp_path: Path) -> None:
    texts = ["", None, 'a "quoted", text', "two\nlines", "tab\t and \\N", "é 漢 \u2028"]
    values = [0.1, None, -1e12, 1 / 3, 5e-324, 4.0]
    with store.begin() as connection:
        connection.execute(text("INSERT INTO items (item_id, content_hash) VALUES ('a', '')"))
        connection.execute(text("INSERT INTO users (user_id) VALUES (:user)"), {"user": "NULL"})
        ensure_partitions(store.begin, [CUT])
        for number, (value, written) in enumerate(zip(values, texts, strict=True)):
            connection.execute(
                text(
                    "INSERT INTO events (event_id, user_id, item_id, event, value, text, occurred_at, source)"
                    " VALUES (:id, 'NULL', 'a', 'review', :value, :text, :at, 's')"
                ),
                {"id": f"e{number}", "value": value, "text": written, "at": CUT + timedelta(microseconds=number)},
            )
    events = take_snapshot(store, CUT + timedelta(days=1), tmp_path).events()
    assert [None if pd.isna(value) else value for value in events["value"]] == values
    assert [None if pd.isna(written) else written for written in events["text"]] == texts
    assert events["occurred_at"].tolist() == [CUT + timedelta(microseconds=number) for number in range(6)]
    assert set(events["user_id"]) == {"NULL"} and events["session_id"].isna().all()
