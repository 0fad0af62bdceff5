"""What a platform need not keep: old snapshots, trainings, bundles, Bentos and results that nothing in use needs."""

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
    """Numbers of the versions that stay, and ids of the snapshots that they were trained on."""

    versions: Collection[str]
    snapshots: Collection[str]


@dataclass(frozen=True)
class Removed:
    """kind: snapshot, training, champion's twin, bundle, Bento or result."""

    kind: str
    name: str
    bytes: int


def remove_old(home: Path, in_use: InUse, before: datetime) -> list[Removed]:
    """Removes what was last written before that moment (aware) and is not in use: what it was.

    A snapshot stays as long as a version that stays was trained on it. The latest one stays with its training, which
    another retraining may go on from, and with the results of flow runs since then, which that would take over.
    Events, the registry and the caches are left alone.
    """
    latest = latest_snapshot(home / "snapshots")
    last = {latest.path.name} if latest else set()
    snapshots = last | _snapshots_of(home / "snapshots", in_use.snapshots)
    used: dict[str, tuple[Path, Callable[[str], bool]]] = {
        "snapshot": (home / "snapshots", snapshots.__contains__),
        "training": (home / "runs", {*last, "champions"}.__contains__),
        "champion's twin": (home / "runs" / "champions", in_use.versions.__contains__),
        "bundle": (home / "bundles", in_use.versions.__contains__),
        "Bento": (home / "bentoml" / "bentos" / "duotempo", lambda name: _of_a_version(name, in_use.versions)),
    }
    gone = [
        _remove(kind, path)
        for kind, (folder, needed) in used.items()
        for path in _entries(folder)
        if not needed(path.name) and _touched(path) < before.timestamp()
    ]
    since = min([before.timestamp(), *(own.stat().st_mtime for own in (home / "runs").glob("*/own"))])
    old = [path for path in _entries(home / "prefect" / "storage") if _touched(path) < since]
    return gone + [_remove("result", path) for path in old]


def _snapshots_of(folder: Path, ids: Collection[str]) -> set[str]:
    """The names of the snapshots of these ids."""
    names = set()
    for manifest in folder.glob("[!.]*/manifest.json"):
        try:
            known = json.loads(manifest.read_text(encoding="utf-8"))["id"]
        except (ValueError, KeyError, TypeError):
            continue  # damaged: nobody can use it
        if known in ids:
            names.add(manifest.parent.name)
    return names


def _of_a_version(tag: str, versions: Collection[str]) -> bool:
    """Whether a Bento, such as `v3-1f00c0ffee00`, holds one of the versions; BentoML's own files beside them stay."""
    numbers = re.findall(r"\d+", tag.rpartition("-")[0])
    return not numbers or not set(numbers).isdisjoint(versions)


def _entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder but for hidden files: those are unfinished, and have their own sweeper."""
    yield from sorted(path for path in folder.glob("[!.]*") if not path.is_symlink())


def _touched(path: Path) -> float:
    """When it, or what lies directly in it, was last written."""
    return max(one.stat().st_mtime for one in (path, *path.glob("*")))


def _remove(kind: str, path: Path) -> Removed:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return Removed(kind, path.name, size)
