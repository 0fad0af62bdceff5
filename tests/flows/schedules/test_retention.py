"""The retention flow on a real platform: what it removes and reports."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.store.snapshot import take_snapshot
from infra.orchestration.client import run_deployment
from tests.support.promotion import register
from tests.support.schedules import RunningPlatform, fill

pytestmark = pytest.mark.timeout(600)
LONG_AGO = time.time() - 90 * 86_400


def age(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_retention_removes_unused_files_and_reports_them(running: RunningPlatform, tmp_path: Path) -> None:
    home = running.platform.home.path
    fill(running)
    take_snapshot(running.engine, datetime.now(UTC), home / "snapshots")
    newest = register(running.platform.addresses.mlflow_url, tmp_path / "version")
    for version in (newest, "77"):
        folder = home / "bundles" / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text("{}")
        age(folder)
    snapshots = {path.name for path in (home / "snapshots").iterdir()}
    result = run_deployment("retention/cleanup", {}, timeout=300)
    assert [(one["kind"], one["name"]) for one in result["removed"]] == [("bundle", "77")]
    assert result["bytes"] == 2
    assert not (home / "bundles" / "77").exists()
    assert (home / "bundles" / newest).is_dir()
    assert {path.name for path in (home / "snapshots").iterdir()} == snapshots
    shown = running.prefect.artifacts(running.prefect.runs("retention")[0]["id"])["retention"]
    assert json.loads(shown["data"]) == result["removed"]
    assert "1 removed, 2 bytes" in shown["description"]
