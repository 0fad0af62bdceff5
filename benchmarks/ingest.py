"""Events loaded by `duotempo ingest` per second, against a bare COPY of the same cleaned rows.

COPY fills empty tables of the same server with the indexes and partitions of `events` and `event_keys`, but without
notifications: it knows that every row is valid and new. The commit before the columnar engine loads fewer rows of the
same kind, from a worktree of the checkout.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psycopg
from sqlalchemy import make_url
from tqdm import tqdm

from benchmarks.database import temporary_database
from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError
from benchmarks.provenance import ROOT, provenance
from components.settings import Settings
from infra.migrations import migrate

PAGE = ROOT / "docs" / "performance.md"
MARKER = "ingest"
ROWS, ROWS_BEFORE = 20_000_000, 500_000
BEFORE = "e11e695"
"""The last commit that loaded rows as Python objects, in one transaction."""
MAPPING = """[events]
user_id = "user_id"
item_id = "item_id"
event = "event"
timestamp = { column = "timestamp", format = "seconds" }
value = "value"
"""
_MAKE_ROWS = (
    "COPY (SELECT 'u' || hash(i) % {users} AS user_id, 'i' || hash(i * 3) % 50000 AS item_id,"
    " 1700000000 + hash(i * 5) % 20000000 AS timestamp,"
    " CASE WHEN i % 100 = 0 THEN 'gaze' ELSE ['view', 'view', 'click', 'cart', 'rating'][1 + i % 5] END AS event,"
    " CASE WHEN i % 5 = 4 THEN 1 + hash(i * 7) % 5 END AS value"
    " FROM (SELECT CASE WHEN i % 50 = 7 THEN i - 7 ELSE i END AS i FROM range({rows}) AS numbers (i)))"
    " TO '{file}' (FORMAT parquet)"
)
"""Events over eight months in random order; one in fifty repeats an earlier one, one in a hundred is unknown."""
_COPIES = {
    "events": "event_id, user_id, item_id, event, value, text, occurred_at, received_at, session_id, request_id,"
    " model_version, variant, source",
    "event_keys": "event_id, occurred_at, load_id",
}
"""The columns by table."""


@dataclass(frozen=True)
class Finished:
    """A finished program: its time, and its peak memory."""

    seconds: float
    peak_mb: float


def run(settings: Settings, page: Path = PAGE, rows: int = ROWS) -> dict[str, float]:
    """Runs the bench, writes the table into `page` and returns the figures. Raises BenchError if a program fails."""
    figures: dict[str, float] = {"rows": rows}
    with tempfile.TemporaryDirectory(prefix="duotempo-bench-", dir="/tmp") as name, temporary_database() as url:
        folder = Path(name)
        with tqdm(total=4, desc="ingest") as bar:
            (folder / "mapping.toml").write_text(MAPPING)
            loaded = ingest(ROOT, url, folder, make_rows(folder, rows), "--mapping", str(folder / "mapping.toml"))
            stored = count(url)
            figures |= {"rows_per_s": stored / loaded.seconds, "peak_mb": loaded.peak_mb}
            bar.update()
            figures["copy_rows_per_s"] = stored / copy_seconds(url, folder)
            bar.update()
            figures |= undo(url, folder)
            bar.update()
            with worktree(folder / "before") as before:
                if before is not None:
                    figures |= before_figures(before, url, folder)
            bar.update()
    figures["ratio"] = figures["rows_per_s"] / figures["copy_rows_per_s"]
    write_between(page, MARKER, report(figures))
    return figures


def make_rows(folder: Path, rows: int) -> Path:
    """Writes made-up events, the same for the same number of rows."""
    file = folder / f"events-{rows}.parquet"
    duckdb.execute(_MAKE_ROWS.format(rows=rows, users=max(rows // 40, 1), file=file))
    return file


def ingest(checkout: Path, url: str, folder: Path, file: Path, *options: str) -> Finished:
    """Loads a file with the command line of a checkout."""
    return _program(checkout, url, folder, "-m", "cli.main", "ingest", "--events", str(file), *options)


def undo(url: str, folder: Path) -> dict[str, float]:
    """Takes the load back."""
    stored = count(url)
    finished = _program(ROOT, url, folder, "-m", "cli.main", "ingest", "--undo", "1")
    return {"undo_rows_per_s": stored / finished.seconds, "undo_peak_mb": finished.peak_mb}


def copy_seconds(url: str, folder: Path) -> float:
    """Copies the stored rows, in the order in which they were stored, into a second database of the server."""
    files = {name: folder / f"{name}.copy" for name in _COPIES}
    with psycopg.connect(url) as connection:
        months = connection.execute("SELECT DISTINCT date_trunc('month', occurred_at) FROM events").fetchall()
        for name, columns in _COPIES.items():
            ordered = f"SELECT {columns} FROM {name} ORDER BY occurred_at"
            with (
                files[name].open("wb") as out,
                connection.cursor().copy(f"COPY ({ordered}) TO STDOUT".encode()) as rows,
            ):
                for block in rows:
                    out.write(block)
    with other_database(url, "bare") as bare, psycopg.connect(bare) as connection:
        migrate(bare)
        connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
        for (month,) in months:
            name, until = f"events_{month:%Y_%m}", f"'{month}'::timestamptz + interval '1 month'"
            connection.execute(
                f"CREATE TABLE {name} PARTITION OF events FOR VALUES FROM ('{month}') TO ({until})".encode()
            )
        connection.commit()
        started = time.perf_counter()
        for name, columns in _COPIES.items():
            statement = f"COPY {name} ({columns}) FROM STDIN".encode()
            with files[name].open("rb") as lines, connection.cursor().copy(statement) as copy:
                while block := lines.read(1 << 20):
                    copy.write(block)
        connection.commit()
        return time.perf_counter() - started


def before_figures(checkout: Path, url: str, folder: Path) -> dict[str, float]:
    """The rate and the memory of an earlier commit, in a database with that commit's tables."""
    file = make_rows(folder, ROWS_BEFORE)
    with other_database(url, "before") as database:
        make_tables = "import sys; from infra.migrations import migrate; migrate(sys.argv[1])"
        _program(checkout, database, folder, "-c", make_tables, database)
        loaded = ingest(checkout, database, folder, file)
        return {"before_rows_per_s": count(database) / loaded.seconds, "before_peak_mb": loaded.peak_mb}


def count(url: str) -> int:
    """The number of stored events."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM events").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def other_database(url: str, name: str) -> Iterator[str]:
    """Another, empty database of a server."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    yield make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def worktree(folder: Path) -> Iterator[Path | None]:
    """The checkout as of the commit BEFORE; None, with a note, where git or the commit is missing."""
    git = ["git", "-C", str(ROOT), "worktree"]
    try:
        subprocess.run([*git, "add", "--detach", str(folder), BEFORE], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        tqdm.write(f"{BEFORE} is not measured: {why}")
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=False, capture_output=True)


def _program(checkout: Path, url: str, folder: Path, *arguments: str) -> Finished:
    """Runs Python in a checkout. Raises BenchError when it fails."""
    home = folder / "home"
    environment = {
        **os.environ, "PYTHONPATH": str(checkout), "DUOTEMPO_DATABASE_URL": url, "DUOTEMPO_HOME": str(home),
        "DUOTEMPO_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with (folder / "log").open("w+") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=checkout, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise BenchError(f"{' '.join(arguments)} fails:\n{log.read()[-2000:]}")
    return Finished(seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2))


def report(figures: dict[str, float]) -> str:
    """The table."""
    rows = [
        ["rows a second: COPY into tables with the same indexes", f"{figures['copy_rows_per_s']:,.0f}", ""],
        ["**rows a second: `duotempo ingest`**", f"**{figures['rows_per_s']:,.0f}**", f"{figures['ratio']:.2f} x COPY"],
        ["peak memory of `duotempo ingest`", f"{figures['peak_mb']:,.0f} MB", ""],
        [
            "rows a second, and peak memory: `duotempo ingest --undo`",
            f"{figures['undo_rows_per_s']:,.0f}, {figures['undo_peak_mb']:,.0f} MB",
            f"{figures['undo_rows_per_s'] / figures['copy_rows_per_s']:.2f} x COPY",
        ],
    ]
    if "before_rows_per_s" in figures:
        faster = figures["rows_per_s"] / figures["before_rows_per_s"]
        rows.append(
            [
                f"rows a second, and peak memory, of {ROWS_BEFORE:,} rows: commit {BEFORE}",
                f"{figures['before_rows_per_s']:,.0f}, {figures['before_peak_mb']:,.0f} MB",
                f"today is {faster:.1f} x as fast",
            ]
        )
    note = f"{figures['rows']:,.0f} rows of a Parquet file, in random order of time; one in fifty is a duplicate."
    return f"{provenance('ingest')} {note}\n\n{table(['what', 'measured', 'ratio'], rows)}"
