"""Retention removes only what is old and not in use."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.housekeeping.retention import InUse, Removed, remove_old

NOW = datetime.now(UTC)
BEFORE = NOW - timedelta(days=30)
BENTOS = "bentoml/bentos/duotempo"


def write_file(path: Path, *, days: float = 60, text: str = "x" * 10) -> Path:
    """Writes a file and sets its and its folder's modification time to `days` ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    moment = (NOW - timedelta(days=days)).timestamp()
    for entry in (path, path.parent):
        os.utime(entry, (moment, moment))
    return path


def snapshot(home: Path, name: str, *, days: float = 60) -> None:
    manifest = {
        "id": f"id-{name}", "cut": (NOW - timedelta(days=days)).isoformat(), "taken_at": "2024-01-01T00:00:00+00:00",
        "sha256": {"events": "e", "items": "i"}, "rows": {"events": 1, "items": 1},
    }  # fmt: skip
    write_file(home / "snapshots" / name / "manifest.json", days=days, text=json.dumps(manifest))


def remaining(home: Path, folder: str) -> set[str]:
    return {path.name for path in (home / folder).iterdir()}


def names(removed: list[Removed], kind: str) -> set[str]:
    return {entry.name for entry in removed if entry.kind == kind}


def test_snapshots_of_versions_in_use_are_kept(tmp_path: Path) -> None:
    for name, days in (("used", 90), ("old", 60), ("young", 3), ("latest", 2)):
        snapshot(tmp_path, name, days=days)
        write_file(tmp_path / "runs" / name / "vectors.parquet", days=days)
    removed = remove_old(tmp_path, InUse({"1"}, {"id-used"}), BEFORE)
    assert names(removed, "snapshot") == {"old"}
    assert names(removed, "training") == {"old", "used"}
    assert remaining(tmp_path, "snapshots") == {"used", "young", "latest"}
    assert remaining(tmp_path, "runs") == {"young", "latest"}


def test_the_latest_snapshot_is_kept_at_any_age(tmp_path: Path) -> None:
    snapshot(tmp_path, "older", days=90)
    snapshot(tmp_path, "last", days=60)
    assert names(remove_old(tmp_path, InUse(set(), set()), BEFORE), "snapshot") == {"older"}


def test_bundles_twins_and_bentos_of_versions_in_use_are_kept(tmp_path: Path) -> None:
    for version in ("1", "2", "12"):
        write_file(tmp_path / "bundles" / version / "manifest.json")
        write_file(tmp_path / "runs" / "champions" / version / "manifest.json")
        write_file(tmp_path / BENTOS / f"v{version}-0123456789ab" / "bento.yaml")
    write_file(tmp_path / BENTOS / "latest")
    removed = remove_old(tmp_path, InUse({"2"}, set()), BEFORE)
    assert names(removed, "bundle") == names(removed, "champion's twin") == {"1", "12"}
    assert names(removed, "Bento") == {"v1-0123456789ab", "v12-0123456789ab"}
    assert remaining(tmp_path, BENTOS) == {"v2-0123456789ab", "latest"}


def test_recent_files_are_kept(tmp_path: Path) -> None:
    write_file(tmp_path / "bundles" / "1" / "manifest.json", days=1)
    write_file(tmp_path / "prefect" / "storage" / "new", days=1)
    write_file(tmp_path / "prefect" / "storage" / "old")
    write_file(tmp_path / "snapshots" / ".partial-abc" / "events.parquet")
    removed = remove_old(tmp_path, InUse(set(), set()), BEFORE)
    assert removed == [Removed("result", "old", 10)]
    assert remaining(tmp_path, "snapshots") == {".partial-abc"}


def test_results_are_kept_for_a_training_that_may_reuse_them(tmp_path: Path) -> None:
    snapshot(tmp_path, "last")
    write_file(tmp_path / "runs" / "last" / "own", days=60)
    write_file(tmp_path / "prefect" / "storage" / "later", days=59)
    write_file(tmp_path / "prefect" / "storage" / "earlier", days=61)
    assert names(remove_old(tmp_path, InUse(set(), set()), BEFORE), "result") == {"earlier"}


def test_an_empty_home_is_left_unchanged(tmp_path: Path) -> None:
    assert remove_old(tmp_path, InUse(set(), set()), BEFORE) == []
