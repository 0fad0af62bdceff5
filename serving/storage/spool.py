"""Where feedback waits while Postgres is away: a SQLite file on a disk of this machine, written through (fsync)."""

import fcntl
import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote

from components.core.columns import Columns
from components.core.errors import DuotempoError
from components.core.ids import clean_id
from components.settings import Settings
from components.store.rows import EventRow, Rejected

FILE = "feedback.sqlite"
PAGE_BYTES = 4096
HEADER_BYTES = 48
"""Of the index of the log, other ones after each write by any process: https://www.sqlite.org/walformat.html."""
BUSY_SECONDS = 5.0
"""How long one process waits for another that writes."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    place INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT UNIQUE, user_id TEXT, spooled_at REAL NOT NULL,
    row TEXT NOT NULL, reason TEXT
);
CREATE INDEX IF NOT EXISTS waiting_user ON waiting (user_id);
CREATE TABLE IF NOT EXISTS dead (
    place INTEGER PRIMARY KEY, event_id TEXT, user_id TEXT, spooled_at REAL NOT NULL, row TEXT NOT NULL, reason TEXT
);
"""
_INSERT = "INSERT OR IGNORE INTO waiting (event_id, user_id, spooled_at, row, reason) VALUES (?, ?, ?, ?, ?)"
_SIZE = (
    "SELECT count(*), (SELECT spooled_at FROM waiting ORDER BY place LIMIT 1), (SELECT count(*) FROM dead) FROM waiting"
)
_SELECT = "SELECT event_id, user_id, row, reason, place FROM"
_OLDEST = f"{_SELECT} waiting WHERE place NOT IN (SELECT value FROM json_each(?)) ORDER BY place LIMIT ?"
_AT_POSITION = f"{_SELECT} waiting WHERE place = ?"
_PENDING = f"{_SELECT} waiting WHERE user_id = ? ORDER BY place"
_ALL_OF = f"{_SELECT} (SELECT * FROM waiting UNION ALL SELECT * FROM dead) WHERE user_id = ? ORDER BY place"
_MARK_DEAD = (
    "INSERT INTO dead SELECT place, event_id, user_id, spooled_at, row, ? FROM waiting WHERE place = ?"
    " ON CONFLICT DO NOTHING"
)


class SpoolError(DuotempoError):
    """The spool is full, or cannot be read or written; the message names the file and says how to fix it."""


@dataclass(frozen=True)
class Row:
    """What waits: an event with its event_id, or, with a reason, a row that was rejected and goes to quarantine.

    user_id: as the store knows the user. values: JSON-ready. place: in the order of arrival, told by the spool.
    """

    event_id: str | None
    user_id: str | None
    values: Mapping[str, Any]
    reason: str | None = None
    position: int = 0

    def export(self) -> dict[str, Any]:
        """As its user is told."""
        return {**self.values, "reason": self.reason}


class Size(NamedTuple):
    """rows: that wait; seconds: that the first of them has waited; used: share of the room that is taken; dead: rows
    that Postgres refuses, also in quarantine."""

    rows: float
    seconds: float
    used: float
    dead: float


class Spool:
    """Any thread of any process of this machine may use it. Every method raises SpoolError.

    What was added is on the disk when `add` returns. What was removed is overwritten.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._file = folder / FILE
        self._pages = megabytes * 2**20 // PAGE_BYTES
        self._lock_file = folder / "replay.lock"
        self._empty_at: bytes | None = None
        self._writing, self._reading = Lock(), Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._sqlite_errors():
                self._writer, self._reader = self._connect(), self._connect()
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute("PRAGMA synchronous = FULL")
                self._writer.execute("PRAGMA secure_delete = ON")
                self._writer.execute(f"PRAGMA max_page_count = {self._pages}")
                self._writer.executescript(_SCHEMA)
            # never closed before SQLite's own: a process that closes a file loses its locks of it
            self._index_file = (folder / f"{FILE}-shm").open("rb")
            self._index = mmap(self._index_file.fileno(), HEADER_BYTES, access=ACCESS_READ)
        except OSError as error:
            raise SpoolError(
                f"the folder of the spool, {folder}, cannot be made ({error}): "
                "name one that can be written to in DUOTEMPO_SERVING__SPOOL_FOLDER"
            ) from error

    def add(self, rows: Sequence[Row]) -> int:
        """Keeps rows, all or none; how many were kept: an event that waits already is not kept again."""
        now = time.time()
        values = [(row.event_id, row.user_id, now, json.dumps(row.values), row.reason) for row in rows]
        with self._transaction() as connection:
            return connection.executemany(_INSERT, values).rowcount

    def pending(self, user_id: str) -> list[Row]:
        """What waits of a user, in the order of arrival."""
        header = self._index[:HEADER_BYTES]
        if header == self._empty_at:
            return []
        rows = self._read(_PENDING, user_id)
        if not rows and not self.size()[0]:
            self._empty_at = header
        return rows

    def all_of(self, user_id: str) -> list[Row]:
        """As `of`, with what will never be stored."""
        return self._read(_ALL_OF, user_id)

    def oldest(self, limit: int, excluded: Iterable[int] = ()) -> list[Row]:
        """What has waited longest, but for these places."""
        return self._read(_OLDEST, json.dumps(list(excluded)), limit)

    def at(self, position: int) -> list[Row]:
        """The row of this place, if it still waits."""
        return self._read(_AT_POSITION, position)

    def mark_dead(self, row: Row, reason: str) -> None:
        """Has a row wait no more, and keeps it: a dead letter."""
        with self._transaction() as connection:
            connection.execute(_MARK_DEAD, (reason, row.position))
            connection.execute("DELETE FROM waiting WHERE place = ?", (row.position,))

    def remove(self, rows: Collection[Row]) -> None:
        with self._transaction() as connection:
            connection.executemany("DELETE FROM waiting WHERE place = ?", [(row.position,) for row in rows])

    def forget(self, user_id: str) -> int:
        """Removes what waits of a user, and their dead letters: how many rows."""
        with self._transaction() as connection:
            tables = ("waiting", "dead")
            removed = sum(
                connection.execute(f"DELETE FROM {table} WHERE user_id = ?", (user_id,)).rowcount for table in tables
            )
        if removed:
            self.truncate_log()
        return removed

    def truncate_log(self) -> None:
        """Empties the log of writes, so that nothing of what was removed is left on the disk."""
        with self._sqlite_errors(), self._writing:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> Size:
        with self._sqlite_errors(), self._reading:
            rows, since, dead = self._reader.execute(_SIZE).fetchone()
            (pages,), (free,) = (
                self._reader.execute(f"PRAGMA {pragma}_count").fetchone() for pragma in ("page", "freelist")
            )
        seconds = max(0.0, time.time() - since) if rows else 0.0
        return Size(rows, seconds, (pages - free) / self._pages, dead)

    @contextmanager
    def replay_lock(self) -> Iterator[bool]:
        """Whether this process may replay: one of this machine at a time. It lets go even when it is killed."""
        with self._lock_file.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._index.close()
        self._index_file.close()

    def _read(self, query: str, *parameters: object) -> list[Row]:
        with self._sqlite_errors(), self._reading:
            rows = self._reader.execute(query, parameters).fetchall()
        return [Row(event, user, json.loads(row), reason, position) for event, user, row, reason, position in rows]

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._sqlite_errors(), self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        """Tells errors of SQLite in our words."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise SpoolError(
                    f"the spool {self._file} is full: bring Postgres back, "
                    "free the disk, or raise DUOTEMPO_SERVING__SPOOL_MB"
                ) from error
            raise SpoolError(
                f"the spool {self._file} cannot be used ({error}): move it away, or fix its disk"
            ) from error


def open_spool(settings: Settings) -> Spool:
    """The spool of this machine. Raises SpoolError."""
    return Spool(spool_folder(settings), settings.serving.spool_mb)


def dead_letters(settings: Settings) -> int:
    """How many rows of this machine Postgres refuses, also in quarantine. Raises SpoolError."""
    file = spool_folder(settings) / FILE
    if not file.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as reader:
            exists = reader.execute("SELECT count(*) FROM sqlite_master WHERE name = 'dead'").fetchone()[0]
            return int(reader.execute("SELECT count(*) FROM dead").fetchone()[0]) if exists else 0
    except sqlite3.Error as error:
        raise SpoolError(f"the spool {file} cannot be read ({error}): fix its disk") from error


def spool_folder(settings: Settings) -> Path:
    """Where the spool of this machine lies."""
    return (settings.serving.spool_folder or settings.home / "spool").expanduser()


def spool_events(events: Iterable[EventRow]) -> list[Row]:
    return [
        Row(row.event_id, row.user_id, {**row._asdict(), Columns.OCCURRED_AT: row.occurred_at.isoformat()})
        for row in events
    ]


def spool_rejected(rejected: Iterable[Rejected]) -> list[Row]:
    """For quarantine."""
    return [Row(None, clean_id(row.row.get(Columns.USER)), row.row, row.reason) for row in rejected]


def spooled_events(rows: Iterable[Row]) -> list[EventRow]:
    """The events among the rows."""
    return [
        EventRow(**{**row.values, Columns.OCCURRED_AT: datetime.fromisoformat(row.values[Columns.OCCURRED_AT])})
        for row in rows
        if row.reason is None
    ]
