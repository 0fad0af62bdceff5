"""Fetches a source into a local file that `components.files` can open."""

from pathlib import Path

from components.sources.postgres import fetch_query
from components.sources.remote_files import fetch_files
from components.sources.source import POSTGRES, Fetched, Source, SourceError


def fetch(source: Source, folder: Path, watermark: str | None = None) -> Fetched:
    """Fetches what is new since a watermark, streamed to disk.

    If nothing is newer than the watermark, nothing is fetched. Otherwise what is as new as the watermark, less the
    overlap, is fetched again: rows may have come late.

    Args:
        folder: Where to write; created if it does not exist.
        watermark: Of an earlier fetch; None fetches everything.

    Raises:
        SourceUnavailable: The source does not answer.
        SourceError: The source does not exist, refuses the login or the query, or is described wrongly.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if source.scheme in POSTGRES:
        return fetch_query(source, folder, watermark)
    for name, value in (("query", source.query), ("watermark", source.watermark)):
        if value:
            raise SourceError(
                f"{source.name}: {name} is for databases, and {source.shown} is none; leave it out. "
                "Of files, those are read that have changed since the last time"
            )
    return fetch_files(source, folder, watermark)
