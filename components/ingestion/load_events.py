"""Loads judged events in chunks, which a killed load can continue."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from duckdb import DuckDBPyConnection
from sqlalchemy import Engine, select

from components.core.columns import Columns
from components.ingestion.admission import Admission, admit
from components.ingestion.judge import Admit, Verdicts, judge_events
from components.settings import Settings
from components.store.consent import lock_users, refused
from components.store.event_chunks import COPIED, ChunkLine, store_chunk
from components.store.load import quarantine_all
from components.store.loads import (
    COMPLETE,
    RUNNING,
    STOPPED,
    UNDONE,
    Bound,
    LoadError,
    LoadRun,
    chunk_counts,
    exclusive,
    open_chunks,
    plan_chunks,
    read_load,
    set_state,
)
from components.store.partitions import ensure_partitions
from components.store.privacy import Privacy
from components.store.rows import Rejected
from components.store.schema import Item

CHUNK_SIZE = 50_000
"""Events per transaction."""
WORKERS = 2
_FROM_FIRST = "(micros > $micros OR (micros = $micros AND arrival >= $arrival))"
_BEFORE_NEXT = "(micros < $to_micros OR (micros = $to_micros AND arrival < $to_arrival))"


def judge_for(
    connection: DuckDBPyConnection, engine: Engine, settings: Settings, source: str, now: datetime
) -> Verdicts:
    """Judges the view `events_in` against the store's catalogue, consents and erasures; stores nothing.

    Raises:
        StoreError: Postgres cannot be used.
        PrivacyError: The store is tied to another privacy key.
    """
    privacy = Privacy(settings)
    read_catalogue(connection, engine)
    return judge_events(
        connection,
        source=source,
        settings=settings.events,
        now=now,
        admit=_admit(engine, privacy),
        keep_raw=not privacy.pseudonyms,
    )


def load_events(
    connection: DuckDBPyConnection, engine: Engine, settings: Settings, load: LoadRun, verdicts: Verdicts
) -> dict[str, Any]:
    """Stores the judged events and rejected rows of a load, and completes it. Continues a load that was interrupted.

    Args:
        connection: After `judge_for`.
        load: From `begin_load`, or `resumable`.

    Returns:
        The counts that the journal keeps.

    Raises:
        LoadError: Another process holds the load.
        StoreError: Postgres cannot be used; the load can be resumed.
    """
    privacy = Privacy(settings)
    with exclusive(engine, load.load_id):
        set_state(engine, load.load_id, RUNNING)
        try:
            _quarantine(connection, engine, privacy, load)
            _store(connection, engine, privacy, load)
        except BaseException:
            set_state(engine, load.load_id, STOPPED)
            raise
        counts = {
            **chunk_counts(engine, load.load_id),
            "duplicates": verdicts.duplicates,
            "rejected": dict(verdicts.rejected),
        }
        set_state(engine, load.load_id, COMPLETE, counts)
    return counts


def resumable(engine: Engine, load_id: int, digest: str) -> LoadRun:
    """The load to continue. Its file is judged again; chunks that are stored are skipped.

    Raises:
        LoadError: There is no such load, it is complete or undone, or the file is not the one of the load.
    """
    load = read_load(engine, load_id)
    if load.state in (COMPLETE, UNDONE):
        raise LoadError(f"load {load_id} is {load.state}: begin a new one with `duotempo ingest`")
    if load.digest != digest:
        raise LoadError(f"load {load_id} is of another file or mapping: give the same, or begin a new load")
    return load


def read_catalogue(connection: DuckDBPyConnection, engine: Engine) -> None:
    """Makes the table `known_items` of the store's items."""
    connection.execute("CREATE OR REPLACE TABLE known_items (item_id VARCHAR)")
    with engine.connect().execution_options(yield_per=CHUNK_SIZE) as store:
        for items in store.execute(select(Item.item_id)).scalars().partitions():
            connection.execute("INSERT INTO known_items SELECT unnest($1)", [list(items)])


def _admit(engine: Engine, privacy: Privacy) -> Admit:
    def admit_users(users: Any) -> Admission:
        with engine.begin() as store:
            return admit(store, users, privacy)

    return admit_users


def _quarantine(connection: DuckDBPyConnection, engine: Engine, privacy: Privacy, load: LoadRun) -> None:
    rows = connection.cursor().execute("SELECT arrival, user_id, raw, reason FROM rejected_events ORDER BY arrival")
    while batch := rows.fetchmany(CHUNK_SIZE):
        users = {user for _, user, _, _ in batch if user}
        with engine.begin() as store:
            lock_users(store, users)
            reasons = refused(store, privacy, users)
            rejected = [
                Rejected(arrival, {}, reasons[user]) if user in reasons else Rejected(arrival, json.loads(raw), reason)
                for arrival, user, raw, reason in batch
            ]
            quarantine_all(store, load.source, rejected, load.load_id)


def _store(connection: DuckDBPyConnection, engine: Engine, privacy: Privacy, load: LoadRun) -> None:
    months = connection.execute(
        "SELECT DISTINCT date_trunc('month', make_timestamp(micros)) FROM good_events"
    ).fetchall()
    ensure_partitions(engine.begin, [datetime(month.year, month.month, 1, tzinfo=UTC) for (month,) in months])
    bounds = plan_chunks(engine, load.load_id, _bounds(connection))
    todo = open_chunks(engine, load.load_id)
    last = Bound(len(bounds), 2**62, 0)
    spans = [
        (bound, following) for bound, following in zip(bounds, [*bounds[1:], last], strict=True) if bound.chunk in todo
    ]

    def store(span: tuple[Bound, Bound]) -> None:
        bound, following = span
        # whatever precedes the first event of an earlier judgement belongs to its first chunk
        lines = _lines(connection.cursor(), bound if bound.chunk else Bound(0, -(2**62), 0), following)
        store_chunk(engine, privacy, load, bound.chunk, lines)

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
