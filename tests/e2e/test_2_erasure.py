"""A person is forgotten on a whole platform, after trainings that met them, answers and feedback."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from components import registry
from components.store.snapshot import Snapshot
from tests.support.shell import USER, Done, Shell
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def forgotten(shell: Shell, first: Done, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `duotempo forget` said."""
    file = tmp_path_factory.mktemp("export") / "user.json"
    shell.run("export", USER, "--out", file)
    held = json.loads(file.read_text(encoding="utf-8"))
    assert held["events"] and held["interest_vectors"]
    assert file.stat().st_mode & 0o077 == 0
    return dict(json.loads(shell.run("forget", USER, "--json").out))


def naming(home: Path) -> list[Path]:
    """The files that name the user, Parquet files read as what they are; the database has tests of its own."""
    found = []
    for file in home.rglob("*"):
        if not file.is_file() or "postgres" in file.relative_to(home).parts[0]:
            continue
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content = pq.read_table(file).to_pandas().to_csv().encode()
        if USER.encode() in content or json.dumps(USER).strip('"').encode() in content:
            found.append(file)
    return found


def test_the_files_name_the_user_no_more(shell: Shell, forgotten: dict[str, Any]) -> None:
    assert forgotten["removed"]["events"] > 0
    assert forgotten["removed"]["user_vectors"] > 0
    erased = forgotten["files"]["erased"]
    assert erased["snapshot_events"] > 0 and erased["interests"] > 0 and erased["cached_vectors"] > 0
    assert naming(shell.home) == []
    for manifest in (shell.home / "snapshots").glob("*/manifest.json"):
        Snapshot.open(manifest.parent)


def test_the_report_names_the_models_that_met_the_user(shell: Shell, forgotten: dict[str, Any]) -> None:
    trained = {version.version for version in registry.versions(shell.mlflow_url)}
    assert {model["version"] for model in forgotten["files"]["models"]} == trained


def test_no_table_names_the_user_and_late_events_stay_outside(
    shell: Shell, folder: Path, forgotten: dict[str, Any]
) -> None:
    assert "forgotten_user" in shell.run("ingest", folder, "--source", "late").text
    for table in ("users", "events", "user_vectors", "quarantine", "erasures"):
        assert shell.sql(f"SELECT count(*) FROM {table} AS t WHERE position(%s IN to_jsonb(t)::text) > 0", USER) == [
            (0,)
        ]


def test_what_a_killed_run_left_is_done_by_the_next(shell: Shell, forgotten: dict[str, Any]) -> None:
    """The row waits, as `/forget` leaves it, and the flow works it off."""
    shell.sql("INSERT INTO erasures (user_id, user_hash) SELECT %s, user_hash FROM tombstones LIMIT 1", "left behind")
    shell.prefect_command("deployment", "run", "erase/local")
    eventually(lambda: shell.sql("SELECT 1 FROM erasures WHERE user_id IS NULL AND done_at IS NOT NULL OFFSET 1"), 120)
    assert shell.sql("SELECT user_id FROM erasures WHERE user_id IS NOT NULL") == []


def test_keys_are_made_listed_rotated_and_revoked(shell: Shell, up: Done) -> None:
    made = shell.run("keys", "create", "--scope", "recommend", "--scope", "feedback", "--name", "shop")
    key = made.out.strip()
    key_id = key.split("_")[1]
    assert key_id in made.err and key not in made.err
    successor = shell.run("keys", "rotate", key_id, "--grace", "1").out.strip()
    assert successor.split("_")[1] in shell.run("keys", "list").text
    shell.run("keys", "revoke", key_id)
    listed = shell.run("keys", "list").text
    assert "ended" in listed and key not in listed and successor not in listed
    assert "no living key" in shell.run("keys", "revoke", key_id, fails=True).text
    assert "no scope" in shell.run("keys", "create", "--scope", "root", "--name", "x", fails=True).text
