"""What is old and not in use goes, and nothing else."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.housekeeping.retention import InUse, Removed, remove_old

NOW = datetime.now(UTC)
BEFORE = NOW - timedelta(days=30)
BENTOS = "bentoml/bentos/duotempo"


def put(path: Path, *, days: float = 60, text: str = "x" * 10) -> Path:
    """A file, it and its folder last written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    moment = (NOW - timedelta(days=days)).timestamp()
    for one in (path, path.parent):
        os.utime(one, (moment, moment))
    return path


def snapshot(home: Path, name: str, *, days: float = 60) -> None:
    manifest = {
        "id": f"id-{name}", "cut": (NOW - timedelta(days=days)).isoformat(), "taken_at": "2024-01-01T00:00:00+00:00",
        "sha256": {"events": "e", "items": "i"}, "rows": {"events": 1, "items": 1},
    }  # fmt: skip
    put(home / "snapshots" / name / "manifest.json", days=days, text=json.dumps(manifest))


def left(home: Path, folder: str) -> set[str]:
    return {path.name for path in (home / folder).iterdir()}


def names(removed: list[Removed], kind: str) -> set[str]:
    return {one.name for one in removed if one.kind == kind}


def test_a_snapshot_stays_while_a_version_in_use_was_trained_on_it(tmp_path: Path) -> None:
    for name, days in (("used", 90), ("old", 60), ("young", 3), ("latest", 2)):
        snapshot(tmp_path, name, days=days)
        put(tmp_path / "runs" / name / "vectors.parquet", days=days)
    gone = remove_old(tmp_path, InUse({"1"}, {"id-used"}), BEFORE)
    assert names(gone, "snapshot") == {"old"}
    assert names(gone, "training") == {"old", "used"}
    assert left(tmp_path, "snapshots") == {"used", "young", "latest"}
    assert left(tmp_path, "runs") == {"young", "latest"}


def test_the_latest_snapshot_stays_however_old_it_is(tmp_path: Path) -> None:
    snapshot(tmp_path, "older", days=90)
    snapshot(tmp_path, "last", days=60)
    assert names(remove_old(tmp_path, InUse(set(), set()), BEFORE), "snapshot") == {"older"}


def test_bundles_twins_and_bentos_stay_with_their_versions(tmp_path: Path) -> None:
    for version in ("1", "2", "12"):
        put(tmp_path / "bundles" / version / "manifest.json")
        put(tmp_path / "runs" / "champions" / version / "manifest.json")
        put(tmp_path / BENTOS / f"v{version}-0123456789ab" / "bento.yaml")
    put(tmp_path / BENTOS / "latest")
    gone = remove_old(tmp_path, InUse({"2"}, set()), BEFORE)
    assert names(gone, "bundle") == names(gone, "champion's twin") == {"1", "12"}
    assert names(gone, "Bento") == {"v1-0123456789ab", "v12-0123456789ab"}
    assert left(tmp_path, BENTOS) == {"v2-0123456789ab", "latest"}


def test_what_was_written_lately_stays(tmp_path: Path) -> None:
    put(tmp_path / "bundles" / "1" / "manifest.json", days=1)
    put(tmp_path / "prefect" / "storage" / "new", days=1)
    put(tmp_path / "prefect" / "storage" / "old")
    put(tmp_path / "snapshots" / ".partial-abc" / "events.parquet")
    gone = remove_old(tmp_path, InUse(set(), set()), BEFORE)
    assert gone == [Removed("result", "old", 10)]
    assert left(tmp_path, "snapshots") == {".partial-abc"}


def test_results_stay_as_long_as_a_training_that_may_take_them_over(tmp_path: Path) -> None:
    snapshot(tmp_path, "last")
    put(tmp_path / "runs" / "last" / "own", days=60)
    put(tmp_path / "prefect" / "storage" / "later", days=59)
    put(tmp_path / "prefect" / "storage" / "earlier", days=61)
    assert names(remove_old(tmp_path, InUse(set(), set()), BEFORE), "result") == {"earlier"}


def test_an_empty_home_is_left_alone(tmp_path: Path) -> None:
    assert remove_old(tmp_path, InUse(set(), set()), BEFORE) == []
