"""Erasure of a user from the platform's files. Every step can be interrupted and repeated."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from components.core.checksums import DamagedFile, checksummed, reading
from components.core.columns import Columns
from components.core.files import atomic_write
from components.embedding.vectors import VectorsError, read_table, text_hash, write_vectors
from components.registry import Version
from components.store.snapshot import SnapshotError, erase_user, is_user

DOCUMENTS = (Columns.DOCUMENT_LONG, Columns.DOCUMENT_SHORT)
INTERESTS, TEXTS, VECTORS = "interests.parquet", "texts.parquet", "vectors.parquet"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ErasedFiles:
    """What was removed: events of snapshots, unreadable snapshots and training runs, rows of interests, cached vectors,
    results of flow runs and fetched rows of sources that were not loaded."""

    snapshot_events: int
    unreadable_snapshots: int
    unreadable_runs: int
    interests: int
    cached_vectors: int
    flow_results: int
    fetched_sources: int


def erase_files(home: Path, cache: Path, user_id: str, requested_at: datetime) -> ErasedFiles:
    """Erases a user from the snapshots, training runs and cached results under `home`, and from `cache`.

    The interests of a run are erased last, because the user's other data is found through them.

    Args:
        user_id: The user's id as stored.
        requested_at: No flow that started before this time may still be running: it could write the data again.
    """
    events, unreadable = _erase_snapshots(home / "snapshots", user_id)
    interest_files = sorted((home / "runs").rglob(INTERESTS))
    files = [file for file in interest_files if _readable(file)]
    unshared = _unshared_documents(files, user_id)
    hashes = {text_hash(text) for text in unshared}
    vectors = sum(_erase_vectors(path, hashes) for path in _cached(cache / "embeddings")) if hashes else 0
    rows = sum(_erase_run(file, user_id, unshared, hashes) for file in files)
    results = _erase_results(home / "prefect" / "storage", requested_at)
    fetched = _erase_fetched(home / "ingest", requested_at)
    return ErasedFiles(events, unreadable, len(interest_files) - len(files), rows, vectors, results, fetched)


def report(
    erased: ErasedFiles, versions: Sequence[Version], first_occurred: datetime | None, first_received: datetime | None
) -> dict[str, Any]:
    """Builds the JSON-ready report: what was removed, and the registered models that were trained on the user's data.

    A trained model cannot unlearn; it has to be deleted. Models trained after the erasure do not contain the user.

    Args:
        versions: All registered versions.
        first_occurred: Time of the user's first event; None without events.
        first_received: When that event was stored.
    """
    trained = [
        {"version": version.version, "created_at": version.created_at.isoformat(), "aliases": list(version.aliases)}
        for version in versions
        if first_occurred is not None
        and first_received is not None
        and datetime.fromisoformat(version.tags["cut"]) > first_occurred
        and version.created_at > first_received
    ]
    return {"erased": asdict(erased), "models": trained}


def _erase_snapshots(folder: Path, user_id: str) -> tuple[int, int]:
    """Erases the user from all snapshots and deletes unreadable ones; returns (events, unreadable snapshots)."""
    events = unreadable = 0
    for path in sorted(path for path in folder.glob("*") if path.is_dir()):
        try:
            events += erase_user(path, user_id)
        except SnapshotError as error:
            logger.warning("snapshot removed, as it is unreadable and may name the user: %s", error)
            shutil.rmtree(path)
            unreadable += 1
    return events, unreadable


def _readable(interests: Path) -> bool:
    """Whether the files of a run can be searched for the user; deletes the run if not."""
    texts = interests.with_name(TEXTS)
    try:
        with reading(interests, "the run may name the user"):
            pq.read_table(interests, columns=[Columns.USER, *DOCUMENTS])
        with reading(texts, "the run may name the user"):
            return not texts.exists() or pq.read_table(texts, columns=[Columns.TEXT]) is not None
    except DamagedFile as error:
        logger.warning("training run removed, as it is unreadable: %s", error)
        shutil.rmtree(interests.parent)
        return False


def _unshared_documents(files: list[Path], user_id: str) -> set[str]:
    """The documents of the user that no other user shares."""
    own, others = set[str](), set[str]()
    for file in files:
        table = pq.read_table(file, columns=[Columns.USER, *DOCUMENTS])
        is_own = is_user(table[Columns.USER], user_id)
        for documents in DOCUMENTS:
            own |= set(table.filter(is_own)[documents].to_pylist())
            others |= set(table.filter(pc.invert(is_own))[documents].to_pylist())
    return {text for text in own - others if text}


def _erase_run(interests: Path, user_id: str, unshared: set[str], hashes: set[str]) -> int:
    """Erases the user from a run and returns the number of removed rows of interests."""
    table = pq.read_table(interests)
    kept = table.filter(pc.invert(is_user(table[Columns.USER], user_id)))
    if kept.num_rows == table.num_rows:
        return 0
    _erase_vectors(interests.with_name(VECTORS), hashes)
    texts = interests.with_name(TEXTS)
    if texts.is_file():
        stored_texts = pq.read_table(texts)
        unknown = pc.invert(pc.is_in(stored_texts[Columns.TEXT], value_set=pa.array(sorted(unshared), pa.string())))
        _replace(texts, stored_texts.filter(unknown))
    _replace(interests, kept)
    return table.num_rows - kept.num_rows


def _cached(root: Path) -> Iterator[Path]:
    """Yields the files of every encoder's cache, under the lock that blocks merges."""
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        with FileLock(folder / "merge.lock"):
            yield from sorted(folder.glob("*.parquet"))


def _erase_vectors(file: Path, hashes: set[str]) -> int:
    if not file.is_file():
        return 0
    try:
        stored, vectors = read_table(file)
    except VectorsError as error:
        logger.warning("cached vectors removed, as they are unreadable: %s", error)
        file.unlink()
        return 0
    kept = pc.invert(pc.is_in(stored, value_set=pa.array(sorted(hashes), pa.string()))).to_numpy(zero_copy_only=False)
    if kept.all():
        return 0
    write_vectors(file, stored.filter(pa.array(kept)).to_pylist(), vectors[kept])
    return int((~kept).sum())


def _erase_results(folder: Path, requested_at: datetime) -> int:
    """Deletes Prefect's results of earlier flow runs: they may name any user, and are only read right after a run."""
    old = [path for path in folder.glob("*") if path.is_file() and path.stat().st_mtime < requested_at.timestamp()]
    for path in old:
        path.unlink()
    return len(old)


def _erase_fetched(folder: Path, requested_at: datetime) -> int:
    """Deletes rows of sources that a killed load has left: they may name any user, and are fetched again."""
    old = [path for path in folder.glob("*") if path.is_dir() and path.stat().st_mtime < requested_at.timestamp()]
    for path in old:
        shutil.rmtree(path)
    return len(old)


def _replace(file: Path, table: pa.Table) -> None:
    with checksummed(file), atomic_write(file) as part:
        pq.write_table(table, part)
