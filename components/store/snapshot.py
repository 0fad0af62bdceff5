"""An immutable copy of events and items as of a cut: Parquet files and a manifest."""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, Select, Text, cast, func, select

from components.core.columns import Columns
from components.core.errors import DuotempoError
from components.core.files import sha256
from components.core.ids import repaired_id
from components.store.bulk import EVENT_SCHEMA, ITEM_SCHEMA
from components.store.copy_out import copy_batches
from components.store.schema import Event, Item, User

CHUNK_ROWS = 50_000
MAX_NAMED_ITEMS = 5
"""Most deleted items that a warning names."""
_FILES = {"events": "events.parquet", "items": "items.parquet"}
_MANIFEST = "manifest.json"
_PARTIAL = ".partial-"
_NEXT = ".next"
_STALE_SECONDS = 3600.0
"""Age after which an unfinished folder counts as left over by a dead process."""

logger = logging.getLogger(__name__)


class SnapshotError(DuotempoError):
    """A snapshot cannot be taken or read; the message names the folder and says how to fix it."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot folder and its manifest.

    Attributes:
        manifest: id (hash of cut and content), cut and taken_at (ISO 8601), rows and sha256 (each by `events` and
            `items`), previous_rows (rows of the previous snapshot, or None).
    """

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> "Snapshot":
        """Opens a snapshot and verifies its checksums. Raises SnapshotError when a file is missing or changed."""
        manifest = _read_manifest(path)
        try:
            digests = {name: sha256(path / file) for name, file in _FILES.items()}
        except OSError as error:
            raise SnapshotError(f"{path} is no readable snapshot ({error}); take a new one") from error
        for name, digest in digests.items():
            if manifest["sha256"][name] != digest:
                raise SnapshotError(f"{path / _FILES[name]} is not what its manifest says; take a new snapshot")
        return cls(path, manifest)

    @property
    def cut(self) -> datetime:
        return datetime.fromisoformat(self.manifest["cut"])

    def events(self) -> pd.DataFrame:
        """The events frame, sorted by occurred_at, ties by arrival."""
        return pq.read_table(self.path / _FILES["events"]).to_pandas()

    def items(self) -> pd.DataFrame:
        """The items frame, sorted by item_id; attributes are JSON."""
        items = pq.read_table(self.path / _FILES["items"]).to_pandas()
        return items.assign(**{Columns.CATEGORY: [list(names) for names in items[Columns.CATEGORY]]})


def take_snapshot(engine: Engine, cut: datetime, folder: Path, previous: Path | None = None) -> Snapshot:
    """Copies the events of consenting users before a cut, and all items, into a new folder under `folder`.

    Events and items are read in one transaction, so they are consistent. Events of deleted items are left out, but
    stay in the store until the item is added again. The same content and cut give the same folder.

    Args:
        cut: Exclusive end of the events, timezone-aware.
        folder: Where the snapshots lie.
        previous: The previous snapshot; it is returned, with its earlier cut, if nothing has changed since.

    Raises:
        SnapshotError: The snapshot cannot be written (disk full); nothing is left behind.
        StoreError: Postgres cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
        try:
            manifest = _write_files(engine, cut, partial, previous)
            return _reuse_if_unchanged(previous, manifest) or _publish(partial, manifest, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise SnapshotError(
            f"the snapshot cannot be written into {folder} ({error}); {_free_space(folder)} free there: "
            "free some space, or set DUOTEMPO_HOME to a folder on another disk, and start again"
        ) from error


def latest_snapshot(folder: Path) -> Snapshot | None:
    """The snapshot with the latest cut, among equal cuts the last one taken; None when there is none.

    Reads the manifests only; unreadable ones are skipped with a warning.
    """
    readable = []
    for file in folder.glob(f"[!.]*/{_MANIFEST}"):
        try:
            readable.append(Snapshot(file.parent, _read_manifest(file.parent)))
        except SnapshotError as error:
            logger.warning("snapshot skipped: %s", error)
    return max(readable, key=lambda snapshot: (snapshot.manifest["cut"], snapshot.manifest["taken_at"]), default=None)


def erase_user(path: Path, user_id: str) -> int:
    """Rewrites a snapshot without the user's events: new sha256, same id. Completes an interrupted earlier rewrite.

    Returns:
        The number of removed events.

    Raises:
        SnapshotError: The snapshot cannot be read.
    """
    file, manifest_file = path / _FILES["events"], path / _MANIFEST
    next_file, next_manifest = (path / f"{target.name}{_NEXT}" for target in (file, manifest_file))
    try:
        if next_manifest.is_file() and json.loads(next_manifest.read_bytes())["sha256"]["events"] == sha256(file):
            next_manifest.replace(manifest_file)
        manifest, events = _read_manifest(path), pq.read_table(file)
        kept = events.filter(pc.invert(is_user(events[Columns.USER], user_id)))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise SnapshotError(f"{path} is no readable snapshot ({error!r}); take a new one") from error
    if removed := events.num_rows - kept.num_rows:
        pq.write_table(kept, next_file)
        manifest["rows"]["events"] = kept.num_rows
        manifest["sha256"]["events"] = sha256(next_file)
        manifest["rewritten_at"] = datetime.now(UTC).isoformat(timespec="microseconds")
        next_manifest.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        next_file.replace(file)
        next_manifest.replace(manifest_file)
    return removed


def is_user(users: pa.ChunkedArray, user_id: str) -> pa.ChunkedArray:
    """Mask (n,) bool of a user's rows, including the spellings of the id that earlier versions stored."""
    spellings = [
        spelling for spelling in pc.unique(users).to_pylist() if spelling == user_id or repaired_id(spelling) == user_id
    ]
    return pc.is_in(users, value_set=pa.array(spellings, pa.string()))


def _read_manifest(path: Path) -> dict[str, Any]:
    """Reads a manifest. Raises SnapshotError when it is missing, not JSON or incomplete."""
    try:
        manifest: dict[str, Any] = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        required = [datetime.fromisoformat(manifest["cut"]), manifest["taken_at"]]
        required += [manifest[part][name] for part in ("sha256", "rows") for name in _FILES]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{path} is no readable snapshot ({error!r}); take a new one") from error
    if None in required:
        raise SnapshotError(f"{path} is no readable snapshot (its manifest is incomplete); take a new one")
    return manifest


def _remove_stale(folder: Path) -> None:
    """Removes unfinished folders that killed processes left behind."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        try:
            touched = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except FileNotFoundError:
            continue  # its process has finished it meanwhile
        if time.time() - touched > _STALE_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)


def _write_files(engine: Engine, cut: datetime, partial: Path, previous: Path | None) -> dict[str, Any]:
    """Writes both Parquet files and returns the manifest."""
    cut = cut.astimezone(UTC)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        if orphaned := list(connection.execute(_orphaned_events(cut))):
            logger.warning(
                "%d events are left out: their items are not in the catalogue, such as %s; add the items again to "
                "include them",
                sum(row.events for row in orphaned),
                ", ".join(repr(row.item_id) for row in orphaned[:MAX_NAMED_ITEMS]),
            )
        rows = {
            "events": _write_events(connection, cut, partial / _FILES["events"]),
            "items": _write_items(connection, partial / _FILES["items"]),
        }
    digests = {name: sha256(partial / file) for name, file in _FILES.items()}
    snapshot_id = hashlib.sha256("\n".join([cut.isoformat(), *digests.values()]).encode()).hexdigest()
    return {
        "id": snapshot_id,
        "cut": cut.isoformat(timespec="microseconds"),
        "taken_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "rows": rows,
        "sha256": digests,
        "previous_rows": _read_manifest(previous)["rows"] if previous else None,
    }


def _reuse_if_unchanged(previous: Path | None, manifest: dict[str, Any]) -> Snapshot | None:
    """The previous snapshot, if it is intact, has the same content and no later cut; else None."""
    if previous is None:
        return None
    earlier = _read_manifest(previous)
    if earlier["sha256"] != manifest["sha256"] or earlier["cut"] > manifest["cut"]:
        return None
    try:
        return Snapshot.open(previous)
    except SnapshotError as error:
        logger.warning("%s", error)
        return None


def _publish(partial: Path, manifest: dict[str, Any], folder: Path) -> Snapshot:
    """Moves the finished files to their final folder atomically, unless it exists."""
    path = folder / f"{datetime.fromisoformat(manifest['cut']):%Y%m%dT%H%M%SZ}-{manifest['id'][:12]}"
    if not path.exists():
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        partial.rename(path)
    return Snapshot.open(path)


def _events_before(cut: datetime) -> Select[Any]:
    return (
        select(*(getattr(Event, name) for name in EVENT_SCHEMA.names))
        .join(User, User.user_id == Event.user_id)
        .join(Item, Item.item_id == Event.item_id)
        .where(Event.occurred_at < cut, User.consent)
        .order_by(Event.occurred_at, Event.received_at, Event.event_id)
    )


def _orphaned_events(cut: datetime) -> Select[str, int]:
    """Deleted items that still have events, and the number of these events."""
    counted = select(Event.item_id, func.count().label("events")).where(Event.occurred_at < cut)
    absent = ~select(Item.item_id).where(Item.item_id == Event.item_id).exists()
    return counted.where(absent).group_by(Event.item_id).order_by(func.count().desc(), Event.item_id)


def _all_items() -> Select[Any]:
    columns = {name: getattr(Item, name) for name in ITEM_SCHEMA.names}
    columns[Columns.ATTRIBUTES] = cast(Item.attributes, Text)
    return select(*columns.values()).order_by(Item.item_id)


def _write_events(connection: Connection, cut: datetime, file: Path) -> int:
    """Streams the events before the cut into a Parquet file; returns their number. Same rows, same bytes."""
    count = 0
    with pq.ParquetWriter(file, EVENT_SCHEMA) as writer:
        for batch in copy_batches(connection, _events_before(cut), EVENT_SCHEMA, CHUNK_ROWS):
            writer.write_batch(batch)
            count += len(batch)
    return count


def _write_items(connection: Connection, file: Path) -> int:
    """Like `_write_events`, for all items, whose lists of categories COPY cannot give to Arrow."""
    count = 0
    with pq.ParquetWriter(file, ITEM_SCHEMA) as writer:
        for chunk in connection.execution_options(yield_per=CHUNK_ROWS).execute(_all_items()).partitions():
            columns = zip(zip(*chunk, strict=True), ITEM_SCHEMA, strict=True)
            arrays = [pa.array(column, field.type) for column, field in columns]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=ITEM_SCHEMA))
            count += len(chunk)
    return count


def _free_space(folder: Path) -> str:
    existing_folder = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return f"{shutil.disk_usage(existing_folder).free / 2**20:,.0f} MiB"
