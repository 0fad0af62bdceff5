"""What was fetched of a source, kept on disk until it is loaded, so that a killed run is continued with its rows."""

import hashlib
import json
import shutil
import time
from pathlib import Path

from components.core.files import atomic_write
from components.sources.fetch import fetch
from components.sources.source import Fetched, Source

MAX_AGE_SECONDS = 24 * 3600
"""After this a batch of a killed run is fetched again."""
_RECORD, _ROWS = "batch.json", "rows"


def fetch_batch(source: Source, folder: Path, since: str | None) -> Fetched:
    """Fetches what is new since a watermark, unless a killed run has left just that in the folder.

    Raises:
        SourceError: As `components.sources.fetch.fetch` does.
    """
    record = folder / _RECORD
    origin = _origin(source, since)
    if (left := _left_over(record, origin)) is not None:
        return left
    remove_batch(folder)
    fetched = fetch(source, folder / _ROWS, since)
    if fetched.path is None:
        remove_batch(folder)
        return fetched
    values = {"origin": origin, "path": str(fetched.path.relative_to(folder)), "watermark": fetched.watermark}
    with atomic_write(record) as part:
        part.write_text(json.dumps(values | {"rows": fetched.rows}), encoding="utf-8")
    return fetched


def remove_batch(folder: Path) -> None:
    """Removes a batch, loaded or not."""
    (folder / _RECORD).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _left_over(record: Path, origin: str) -> Fetched | None:
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        age = time.time() - record.stat().st_mtime
    except FileNotFoundError:
        return None
    if values["origin"] != origin or age > MAX_AGE_SECONDS:
        return None
    return Fetched(record.parent / values["path"], values["watermark"], values["rows"])


def _origin(source: Source, since: str | None) -> str:
    """What determines the rows of a batch."""
    parts = [source.address, source.query, source.watermark, source.overlap, since]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
