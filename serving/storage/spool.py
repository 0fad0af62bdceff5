"""The spool: feedback is kept in a SQLite file on local disk (fsynced) while Postgres is away."""

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
"""Header of the WAL index; it changes with every write by any process: https://www.sqlite.org/walformat.html."""
BUSY_SECONDS = 5.0
"""How long a process waits for the write lock of another."""
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
    """A spooled row: an event, or, with a reason, a rejected row that goes to quarantine.

    Attributes:
        event_id: None for a rejected row.
        user_id: The id or pseudonym under which the user is stored.
        values: The row, JSON-serialisable.
        reason: Why the row was rejected.
        position: Order of arrival, assigned by the spool.
    """

    event_id: str | None
    user_id: str | None
    values: Mapping[str, Any]
    reason: str | None = None
    position: int = 0

    def export(self) -> dict[str, Any]:
        """The row as in the user's data export."""
        return {**self.values, "reason": self.reason}


class Size(NamedTuple):
    """The state of the spool.

    Attributes:
        rows: Spooled rows.
        seconds: Age of the oldest row.
        used: Used share of the size limit, 0 to 1.
        dead: Dead letters: rows that Postgres rejects even in quarantine.
    """

    rows: float
    seconds: float
    used: float
    dead: float


class Spool:
    """A durable queue, shared by all threads and processes of this machine. Every method raises SpoolError.

    Rows are on disk when `add` returns. Removed rows are overwritten.

    Args:
        folder: Folder of the SQLite file; created if missing.
        megabytes: Size limit.
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
            # kept open as long as SQLite's own: closing any descriptor of a file drops the process's POSIX locks on it
            self._index_file = (folder / f"{FILE}-shm").open("rb")
            self._index = mmap(self._index_file.fileno(), HEADER_BYTES, access=ACCESS_READ)
        except OSError as error:
            raise SpoolError(
                f"the spool folder {folder} cannot be created ({error}): "
                "set a writable one in DUOTEMPO_SERVING__SPOOL_FOLDER"
            ) from error

    def add(self, rows: Sequence[Row]) -> int:
        """Adds rows, all or none. Returns how many are new; an event_id that is spooled already is skipped."""
        now = time.time()
        values = [(row.event_id, row.user_id, now, json.dumps(row.values), row.reason) for row in rows]
        with self._transaction() as connection:
            return connection.executemany(_INSERT, values).rowcount

    def pending(self, user_id: str) -> list[Row]:
        """The spooled rows of a user, in order of arrival."""
        header = self._index[:HEADER_BYTES]
        if header == self._empty_at:
            return []
        rows = self._read(_PENDING, user_id)
        if not rows and not self.size()[0]:
            self._empty_at = header
        return rows

    def pending_and_dead(self, user_id: str) -> list[Row]:
        """Like `pending`, with the user's dead letters."""
        return self._read(_ALL_OF, user_id)

    def oldest(self, limit: int, excluded: Iterable[int] = ()) -> list[Row]:
        """The oldest rows, except those at the `excluded` positions."""
        return self._read(_OLDEST, json.dumps(list(excluded)), limit)

    def at(self, position: int) -> list[Row]:
        """The row at a position, or an empty list if it is gone."""
        return self._read(_AT_POSITION, position)

    def mark_dead(self, row: Row, reason: str) -> None:
        """Moves a row to the dead letters."""
        with self._transaction() as connection:
            connection.execute(_MARK_DEAD, (reason, row.position))
            connection.execute("DELETE FROM waiting WHERE place = ?", (row.position,))

    def remove(self, rows: Collection[Row]) -> None:
        """Deletes rows that have been stored."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM waiting WHERE place = ?", [(row.position,) for row in rows])

    def forget(self, user_id: str) -> int:
        """Deletes a user's rows and dead letters. Returns how many."""
        with self._transaction() as connection:
            tables = ("waiting", "dead")
            removed = sum(
                connection.execute(f"DELETE FROM {table} WHERE user_id = ?", (user_id,)).rowcount for table in tables
            )
        if removed:
            self.truncate_log()
        return removed

    def truncate_log(self) -> None:
        """Truncates the write-ahead log, so that no removed row is left on disk."""
        with self._sqlite_errors(), self._writing:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> Size:
        """Number of rows, age, used share and dead letters."""
        with self._sqlite_errors(), self._reading:
            rows, since, dead = self._reader.execute(_SIZE).fetchone()
            (pages,), (free,) = (
                self._reader.execute(f"PRAGMA {pragma}_count").fetchone() for pragma in ("page", "freelist")
            )
        seconds = max(0.0, time.time() - since) if rows else 0.0
        return Size(rows, seconds, (pages - free) / self._pages, dead)

    @contextmanager
    def replay_lock(self) -> Iterator[bool]:
        """Tries to take the replay lock, one holder per machine. Released even if the process is killed."""
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
        """Turns SQLite errors into SpoolError."""
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
    """Number of dead letters on this machine. Raises SpoolError."""
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
    """The spool folder of this machine."""
    return (settings.serving.spool_folder or settings.home / "spool").expanduser()


def spool_events(events: Iterable[EventRow]) -> list[Row]:
    """Events as spool rows."""
    return [
        Row(row.event_id, row.user_id, {**row._asdict(), Columns.OCCURRED_AT: row.occurred_at.isoformat()})
        for row in events
    ]


def spool_rejected(rejected: Iterable[Rejected]) -> list[Row]:
    """Rejected rows as spool rows, to be quarantined on replay."""
    return [Row(None, clean_id(row.row.get(Columns.USER)), row.row, row.reason) for row in rejected]


def spooled_events(rows: Iterable[Row]) -> list[EventRow]:
    """The events among spool rows, without the rejected ones."""
    return [
        EventRow(**{**row.values, Columns.OCCURRED_AT: datetime.fromisoformat(row.values[Columns.OCCURRED_AT])})
        for row in rows
        if row.reason is None
    ]
