"""Cleans, deduplicates and sorts the same made-up events with DuckDB and with Polars: time and peak memory.

Each engine runs in a process of its own; Polars in that of `make peers`:

    python -m benchmarks.engines --rows 5000000
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
MAKE_ROWS = (
    "COPY (SELECT CASE WHEN i % 7 = 0 THEN ' ' ELSE '' END || 'u' || hash(i) % 500000 AS user_id,"
    " 'i' || hash(i * 3) % 50000 AS item_id,"
    " 1600000000 + hash(i * 5) % 100000000 AS timestamp,"
    " CASE WHEN i % 100 = 0 THEN 'gaze' ELSE 'view' END AS event,"
    " hash(i * 7) % 5 AS value FROM (SELECT i - i % 10 // 7 AS i FROM range({rows}) AS numbers (i)))"
    " TO '{file}' (FORMAT parquet)"
)
"""Events of which one in ten repeats an earlier one, one in seven needs stripping, and one in a hundred is unknown."""


def with_duckdb(file: str, out: str) -> int:
    """Returns the number of events that are left."""
    import duckdb

    with duckdb.connect(
        str(Path(out).with_suffix(".duckdb")), config={"memory_limit": "700MiB", "threads": 2}
    ) as connection:
        connection.execute(
            "COPY (WITH cleaned AS (SELECT *, row_number() OVER () AS arrival, trim(user_id) AS user"
            f" FROM read_parquet('{file}') WHERE event IN ('view', 'click')), named AS (SELECT *,"
            " sha256(concat_ws('|', user, item_id, event, timestamp, value)) AS event_id FROM cleaned)"
            " SELECT * FROM named SEMI JOIN"
            " (SELECT min(arrival) AS arrival FROM named GROUP BY event_id) USING (arrival)"
            f" ORDER BY timestamp, arrival) TO '{out}' (FORMAT parquet)"
        )
        [(rows,)] = connection.execute(f"SELECT count(*) FROM read_parquet('{out}')").fetchall()
    return int(rows)


def with_polars(file: str, out: str) -> int:
    """Like `with_duckdb`; Polars has no sha256, so the event id is its own 64-bit hash."""
    import polars as pl

    names = ["user", "item_id", "event", "timestamp", "value"]
    events = (
        pl.scan_parquet(file)
        .with_row_index("arrival")
        .filter(pl.col("event").is_in(["view", "click"]))
        .with_columns(pl.col("user_id").str.strip_chars().alias("user"))
        .with_columns(pl.concat_str(names, separator="|").hash().alias("event_id"))
        .unique("event_id", keep="first")
        .sort("timestamp", "arrival")
    )
    events.sink_parquet(out)
    return int(pl.scan_parquet(out).select(pl.len()).collect().item())


ENGINES: dict[str, Callable[[str, str], int]] = {"duckdb": with_duckdb, "polars": with_polars}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        began = time.monotonic()
        rows = ENGINES[given.engine](given.file, f"{given.file}.{given.engine}.out")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rows_left": rows, "seconds": round(time.monotonic() - began, 1), "peak_mb": round(peak)}))
        return
    if not PEERS.exists():
        sys.exit("Polars is not installed: run `make peers`")
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/events.parquet"
        duckdb.execute(MAKE_ROWS.format(rows=given.rows, file=file))
        for engine, python in (("duckdb", sys.executable), ("polars", str(PEERS))):
            command = [python, __file__, "--engine", engine, "--file", file]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(engine, done.stdout.strip())


if __name__ == "__main__":
    main()
