"""What a source is: where rows come from, and what was fetched of it."""

from dataclasses import dataclass, field
from pathlib import Path

from components.core.addresses import redacted
from components.core.errors import DuotempoError

POSTGRES = ("postgresql", "postgres")
HTTP = ("http", "https")


class SourceError(DuotempoError):
    """A source cannot be fetched; the message names it, without secrets, and says how to fix it."""


class SourceUnavailable(SourceError):
    """A source does not answer now; a later attempt may succeed."""


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        name: For messages.
        address: `postgresql://…`, `https://…`, `s3://…`, another address that fsspec knows, or a path.
        query: What to select; Postgres only.
        watermark: The column by which new rows are told from old ones; Postgres only. Files are told apart by the time
            of their last change.
        overlap: How far behind the watermark reading begins: seconds, or a number for a column of numbers.
        secret: A password, `KEY_ID:KEY` of S3, or the value of the header Authorization.
    """

    name: str
    address: str
    query: str | None = None
    watermark: str | None = None
    overlap: float = 0.0
    secret: str | None = field(default=None, repr=False)

    @property
    def scheme(self) -> str:
        """The kind of the address; `file` for paths."""
        scheme, found, _ = self.address.partition("://")
        return scheme.lower() if found else "file"

    @property
    def is_incremental(self) -> bool:
        """Whether only what is new is fetched."""
        return self.watermark is not None or self.scheme not in POSTGRES

    @property
    def shown(self) -> str:
        """The address as it may be printed."""
        return redacted(self.address)


@dataclass(frozen=True)
class Fetched:
    """Rows of a source on this machine's disk.

    Attributes:
        path: A file, or a folder of Parquet files; None if there is nothing new.
        watermark: The newest one of what was fetched; None if the source has none.
        rows: Their number, where the source tells it.
    """

    path: Path | None
    watermark: str | None = None
    rows: int | None = None
