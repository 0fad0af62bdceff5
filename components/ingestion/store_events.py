"""Stores judged events in chunks, which a killed load can continue."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise

from duckdb import DuckDBPyConnection
from sqlalchemy import Engine

from components.core.columns import Columns
from components.store.event_chunks import COPIED, ChunkLine, store_chunk
from components.store.loads import Bound, LoadRun, open_chunks, plan_chunks
from components.store.partitions import ensure_partitions
from components.store.privacy import Privacy

CHUNK_SIZE = 50_000
"""Events per transaction."""
WORKERS = 2
_FROM_FIRST = "(micros > $micros OR (micros = $micros AND arrival >= $arrival))"
_BEFORE_NEXT = "(micros < $to_micros OR (micros = $to_micros AND arrival < $to_arrival))"


def store_events(
    connection: DuckDBPyConnection, engine: Engine, privacy: Privacy, load: LoadRun, advance: Callable[[int], None]
) -> None:
    """Stores the table `good_events` in chunks, each in one transaction with its row of the journal.

    Chunks that are stored already are skipped.

    Args:
        connection: After `judge_events`.
        load: Whose lock is held.
        advance: Called with the number of events of each chunk.

    Raises:
        StoreError: Postgres cannot be used; the load can be resumed.
    """
    months = connection.execute(
        "SELECT DISTINCT date_trunc('month', make_timestamp(micros)) FROM good_events"
    ).fetchall()
    ensure_partitions(engine.begin, [datetime(month.year, month.month, 1, tzinfo=UTC) for (month,) in months])
    bounds = plan_chunks(engine, load.load_id, _bounds(connection))
    todo = open_chunks(engine, load.load_id)
    advance(CHUNK_SIZE * (len(bounds) - len(todo)))
    last = Bound(len(bounds), 2**62, 0)
    spans = [(bound, following) for bound, following in pairwise([*bounds, last]) if bound.chunk in todo]

    def store(span: tuple[Bound, Bound]) -> None:
        bound, following = span
        # whatever precedes the first event of an earlier judgement belongs to its first chunk
        lines = _lines(connection.cursor(), bound if bound.chunk else Bound(0, -(2**62), 0), following)
        store_chunk(engine, privacy, load, bound.chunk, lines)
        advance(len(lines))

    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(store, span) for span in spans]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _bounds(connection: DuckDBPyConnection) -> list[Bound]:
    firsts = connection.execute(
        "SELECT micros, arrival FROM (SELECT micros, arrival, row_number() OVER (ORDER BY micros, arrival) - 1 AS place"
        f" FROM good_events) WHERE place % {CHUNK_SIZE} = 0 ORDER BY place"
    ).fetchall()
    return [Bound(chunk, micros, arrival) for chunk, (micros, arrival) in enumerate(firsts)]


def _lines(cursor: DuckDBPyConnection, first: Bound, following: Bound) -> list[ChunkLine]:
    found = cursor.execute(
        f"SELECT user_id, {_line()} FROM good_events WHERE {_FROM_FIRST} AND {_BEFORE_NEXT} ORDER BY micros, arrival",
        {"micros": first.micros, "arrival": first.arrival}
        | {"to_micros": following.micros, "to_arrival": following.arrival},
    )
    return [ChunkLine(*row) for row in found.fetchall()]


def _line() -> str:
    """SQL of an event in COPY's text format. Cleaned texts hold no tabs or line breaks, but may hold backslashes."""
    special = {
        Columns.VALUE: "CAST(value AS VARCHAR)",
        Columns.OCCURRED_AT: "CAST(make_timestamp(micros) AS VARCHAR) || '+00'",
        "arrival": "CAST(arrival AS VARCHAR)",
    }
    texts = (special.get(name, rf"replace({name}, '\', '\\')") for name in COPIED)
    values = ", ".join(rf"coalesce({sql}, '\N')" for sql in texts)
    return f"concat_ws(chr(9), {values})"
