"""Stores judged events in chunks, which a killed load can continue."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise

from duckdb import DuckDBPyConnection
from sqlalchemy import Engine

from components.core.columns import Columns
from components.ingestion.tables import view_columns
from components.store.event_chunks import COPIED, EventChunk, store_chunk
from components.store.loads import Bound, LoadRun, open_chunks, plan_chunks
from components.store.partitions import ensure_partitions
from components.store.privacy import Privacy

CHUNK_SIZE = 50_000
"""Events per transaction."""
WORKERS = 2
_FROM_FIRST = "(micros > $micros OR (micros = $micros AND arrival >= $arrival))"
_OCCURRED_AT = "CAST(make_timestamp(micros) AS VARCHAR) || '+00'"
_SPECIAL = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
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
        first = bound if bound.chunk else Bound(0, -(2**62), 0)
        events = _chunk(connection.cursor(), load, first, following)
        store_chunk(engine, privacy, load, bound.chunk, events)
        advance(events.size)

    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(store, span) for span in spans]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _bounds(connection: DuckDBPyConnection) -> list[Bound]:
    firsts = connection.execute(  # the table is sorted
        f"SELECT micros, arrival FROM good_events WHERE rowid % {CHUNK_SIZE} = 0 ORDER BY rowid"
    ).fetchall()
    return [Bound(chunk, micros, arrival) for chunk, (micros, arrival) in enumerate(firsts)]


def _chunk(cursor: DuckDBPyConnection, load: LoadRun, first: Bound, following: Bound) -> EventChunk:
    chosen = f"WITH chosen AS MATERIALIZED (SELECT * FROM good_events WHERE {_FROM_FIRST} AND {_BEFORE_NEXT})"
    parameters = {"micros": first.micros, "arrival": first.arrival}
    parameters |= {"to_micros": following.micros, "to_arrival": following.arrival}
    text = {"source": load.source.translate(_SPECIAL), "started": load.started_at.astimezone(UTC).replace(tzinfo=None)}
    line = _line(view_columns(cursor, "good_events"))
    months = cursor.execute(
        f"{chosen} SELECT date_trunc('month', make_timestamp(micros)), string_agg({line}, '') FROM chosen GROUP BY 1",
        parameters | text,
    ).fetchall()
    keys = f"{_escaped(Columns.EVENT_ID)} || chr(9) || {_OCCURRED_AT} || chr(9) || $load || chr(10)"
    [(size, users, lines)] = cursor.execute(
        f"{chosen} SELECT count(*), list(DISTINCT user_id), string_agg({keys}, '' ORDER BY event_id) FROM chosen",
        parameters | {"load": str(load.load_id)},
    ).fetchall()
    by_month = {datetime(month.year, month.month, 1, tzinfo=UTC): lines for month, lines in months}
    return EventChunk(size, users or [], lines or "", by_month)


def _line(present: Collection[str]) -> str:
    """SQL of an event in COPY's text format. Cleaned texts hold no tabs or line breaks, but may hold backslashes."""
    received = "CAST($started + to_microseconds(arrival) AS VARCHAR) || '+00'"
    special = {Columns.OCCURRED_AT: _OCCURRED_AT, Columns.SOURCE: "$source", "received_at": received}
    texts = {name: _escaped(name) for name in present} | special
    if Columns.VALUE in present:
        texts[Columns.VALUE] = "CAST(value AS VARCHAR)"
    values = ", ".join(rf"coalesce({texts.get(name, 'NULL')}, '\N')" for name in COPIED)
    return f"concat_ws(chr(9), {values}) || chr(10)"


def _escaped(text: str) -> str:
    return rf"replace({text}, '\', '\\')"
