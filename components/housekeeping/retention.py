"""Retention: removes old snapshots, training folders, bundles, Bentos and flow results that are not in use."""

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from components.store.snapshot import latest_snapshot


@dataclass(frozen=True)
class InUse:
    """Numbers of the versions to keep, and ids of the snapshots they were trained on."""

    versions: Collection[str]
    snapshots: Collection[str]


@dataclass(frozen=True)
class Removed:
    """A removed file or folder; `kind` is snapshot, training, champion's twin, bundle, fetched rows, Bento or
    result."""

    kind: str
    name: str
    bytes: int


def remove_old(home: Path, in_use: InUse, before: datetime) -> list[Removed]:
    """Removes what was last written before a time (aware) and is not in use, and returns what was removed.

    Snapshots stay while a kept version was trained on them. The latest snapshot stays with its training folder, which
    another retraining may resume, and with the results of flow runs since then, which that would reuse. Events, the
    registry and the caches are not touched.
    """
    latest = latest_snapshot(home / "snapshots")
    latest_name = {latest.path.name} if latest else set()
    snapshots = latest_name | _snapshots_of(home / "snapshots", in_use.snapshots)
    rules: dict[str, tuple[Path, Callable[[str], bool]]] = {
        "snapshot": (home / "snapshots", snapshots.__contains__),
        "training": (home / "runs", {*latest_name, "champions"}.__contains__),
        "champion's twin": (home / "runs" / "champions", in_use.versions.__contains__),
        "bundle": (home / "bundles", in_use.versions.__contains__),
        "fetched rows": (home / "ingest", lambda _: False),
        "Bento": (home / "bentoml" / "bentos" / "duotempo", lambda name: _of_a_version(name, in_use.versions)),
    }
    removed = [
        _remove(kind, path)
        for kind, (folder, is_needed) in rules.items()
        for path in _entries(folder)
        if not is_needed(path.name) and _modified_at(path) < before.timestamp()
    ]
    since = min([before.timestamp(), *(marker.stat().st_mtime for marker in (home / "runs").glob("*/own"))])
    expired = [path for path in _entries(home / "prefect" / "storage") if _modified_at(path) < since]
    return removed + [_remove("result", path) for path in expired]


def _snapshots_of(folder: Path, ids: Collection[str]) -> set[str]:
    """The folder names of the snapshots with these ids."""
    names = set()
    for manifest in folder.glob("[!.]*/manifest.json"):
        try:
            snapshot_id = json.loads(manifest.read_text(encoding="utf-8"))["id"]
        except (ValueError, KeyError, TypeError):
            continue  # damaged, so unusable
        if snapshot_id in ids:
            names.add(manifest.parent.name)
    return names


def _of_a_version(tag: str, versions: Collection[str]) -> bool:
    """Whether a Bento, such as `v3-1f00c0ffee00`, holds one of the versions; True for BentoML's own files."""
    numbers = re.findall(r"\d+", tag.rpartition("-")[0])
    return not numbers or not set(numbers).isdisjoint(versions)


def _entries(folder: Path) -> Iterator[Path]:
    """The entries of a folder without hidden ones, which are unfinished and cleaned up elsewhere."""
    yield from sorted(path for path in folder.glob("[!.]*") if not path.is_symlink())


def _modified_at(path: Path) -> float:
    """Last modification time of a path and its direct children, epoch seconds."""
    return max(entry.stat().st_mtime for entry in (path, *path.glob("*")))


def _remove(kind: str, path: Path) -> Removed:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return Removed(kind, path.name, size)
