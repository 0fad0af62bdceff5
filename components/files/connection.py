"""The DuckDB database in which files are opened, mapped and cleaned."""

from pathlib import Path

import duckdb

from components.files.sql import single_row

_SPILL = "spill"


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


def working_folder(connection: duckdb.DuckDBPyConnection) -> Path:
    """The folder of a connection made by `connect`."""
    return Path(single_row(connection, "SELECT current_setting('temp_directory')")[0]).parent
