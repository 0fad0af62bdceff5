"""The DuckDB database in which files are opened, mapped and cleaned."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from components.core.errors import DuotempoError
from components.core.logs import one_line
from components.files.sql import single_row

_SPILL = "spill"
_FULL = ("max_temp_directory_size", "No space left on device")


class ScratchError(DuotempoError):
    """The disk or the memory in which files are judged does not suffice."""


def connect(folder: Path, memory_mb: int = 700, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """Opens a database in memory whose spilled data and unpacked files lie in a folder, which only its owner may enter.

    Tables that do not fit into memory are spilled, too; a database file would be written twice as slowly. Rows keep the
    order of their file, times are in UTC, and no extension is ever fetched.

    Args:
        folder: Created if it does not exist; may be removed once the connection is closed.
        memory_mb: Limit of DuckDB's memory in MiB; what exceeds it is spilled to disk.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "preserve_insertion_order": True,
            "memory_limit": f"{memory_mb}MiB",
            "temp_directory": str(folder / _SPILL),
            "threads": threads,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@contextmanager
def scratch_errors(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Turns the errors of a full disk, or of too little memory, into one that names the setting.

    Raises:
        ScratchError: The folder of the connection is full, or its memory too small.
    """
    folder = working_folder(connection.cursor())
    try:
        yield
    except (duckdb.Error, OSError) as error:
        why = one_line(str(error).split("\n")[0])
        full = any(sign in str(error) for sign in _FULL) or getattr(error, "errno", None) == errno.ENOSPC
        if full:
            raise ScratchError(
                f"the disk of the scratch folder {folder} is full ({why}): free some of it, or name a folder on "
                "another disk with the setting cache (DUOTEMPO_CACHE), then run the same command again"
            ) from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise ScratchError(
                f"the memory for judging files does not suffice ({why}): raise the setting ingest.memory_mb "
                "(DUOTEMPO_INGEST__MEMORY_MB), then run the same command again"
            ) from error
        raise


def working_folder(connection: duckdb.DuckDBPyConnection) -> Path:
    """The folder of a connection made by `connect`."""
    return Path(single_row(connection, "SELECT current_setting('temp_directory')")[0]).parent
