"""The journal of loads: begins, finds, holds and ends them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, cast, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from components.core.errors import DuotempoError
from components.store.engine import StoreError
from components.store.schema import Load, LoadChunk

RUNNING, COMPLETE, STOPPED, UNDONE = "running", "complete", "stopped", "undone"
_LOCK_SPACE, _BEGIN_SPACE = 0x6C6F6164, 0x62656769


class LoadError(DuotempoError):
    """A load cannot be resumed or undone."""


@dataclass(frozen=True)
class LoadRun:
    """A load of the journal.

    Attributes:
        digest: Of the file and its mapping.
        state: running, complete, stopped or undone.
        started_at: received_at of its events counts from here.
        counts: Of its rows if it is complete, else how many rejected rows are in quarantine.
    """

    load_id: int
    source: str
    digest: str
    state: str
    started_at: datetime
    counts: Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """The first event of a chunk, in the order of time and arrival."""

    chunk: int
    micros: int
    arrival: int


def begin_load(engine: Engine, source: str, digest: str) -> tuple[LoadRun, bool]:
    """The load of the same files and mapping that is neither complete nor undone, else a new one.

    Returns:
        The load, and whether it began before.
    """
    same = select(Load.load_id).where(Load.digest == digest, Load.state.in_((RUNNING, STOPPED)))
    with engine.begin() as connection:
        # two processes that begin at once find the same load
        lock = {"space": _BEGIN_SPACE, "digest": digest}
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, hashtext(:digest))"), lock)
        load_id = connection.scalars(same.order_by(Load.load_id.desc()).limit(1)).one_or_none()
        if load_id is not None:
            return _read(connection, load_id), True
        row = insert(Load).values(source=source, digest=digest, state=RUNNING).returning(Load.load_id)
        return _read(connection, connection.scalars(row).one()), False


def read_load(engine: Engine, load_id: int) -> LoadRun:
    """Finds a load. Raises LoadError if there is none of this number."""
    with engine.connect() as connection:
        return _read(connection, load_id)


def list_loads(engine: Engine) -> list[LoadRun]:
    """All loads, newest first."""
    with engine.connect() as connection:
        ids = connection.scalars(select(Load.load_id).order_by(Load.load_id.desc())).all()
        return [_read(connection, load_id) for load_id in ids]


@contextmanager
def exclusive(engine: Engine, load_id: int) -> Iterator[None]:
    """Holds a load while it is loaded or undone; a killed process lets go of it.

    Raises:
        LoadError: Another process holds it.
    """
    lock = {"space": _LOCK_SPACE, "load": load_id % 2**31}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:space, :load)"), lock):
            raise LoadError(f"load {load_id} is in use by another process: wait until it ends, or stop it")
        try:
            yield
        finally:
            with suppress(StoreError):  # a connection that is lost has let go of the lock
                connection.execute(text("SELECT pg_advisory_unlock(:space, :load)"), lock)


def set_state(engine: Engine, load_id: int, state: str) -> None:
    """Sets the state of a load."""
    with engine.begin() as connection:
        write_state(connection, load_id, state)


def write_state(connection: Connection, load_id: int, state: str, counts: Mapping[str, Any] | None = None) -> None:
    """Sets the state of a load in an open transaction, and its counts if there are some."""
    values: dict[str, Any] = {"state": state, "ended_at": None if state == RUNNING else func.now()}
    connection.execute(
        update(Load).where(Load.load_id == load_id).values(values | ({"counts": dict(counts)} if counts else {}))
    )


def add_counts(connection: Connection, load_id: int, counts: Mapping[str, int]) -> None:
    """Adds to the counts of a load that is not complete: how far it is."""
    more = cast(dict(counts), JSONB)
    connection.execute(update(Load).where(Load.load_id == load_id).values(counts=Load.counts.op("||")(more)))


def plan_chunks(engine: Engine, load_id: int, bounds: Sequence[Bound]) -> list[Bound]:
    """Journals the chunks of a load, unless that was done before, and returns the journaled ones."""
    rows = [
        {"load_id": load_id, "chunk": bound.chunk, "first_micros": bound.micros, "first_arrival": bound.arrival}
        for bound in bounds
    ]
    planned = select(LoadChunk.chunk, LoadChunk.first_micros, LoadChunk.first_arrival)
    planned = planned.where(LoadChunk.load_id == load_id).order_by(LoadChunk.chunk)
    with engine.begin() as connection:
        if not (stored := connection.execute(planned).all()) and rows:
            connection.execute(insert(LoadChunk), rows)
            stored = connection.execute(planned).all()
    return [Bound(*row) for row in stored]


def open_chunks(engine: Engine, load_id: int) -> set[int]:
    """The chunks that are still to be stored."""
    with engine.connect() as connection:
        chunks = select(LoadChunk.chunk).where(LoadChunk.load_id == load_id, LoadChunk.done_at.is_(None))
        return set(connection.scalars(chunks))


def chunk_counts(engine: Engine, load_id: int) -> dict[str, int]:
    """The numbers of stored, existing and refused events over all chunks."""
    columns = (LoadChunk.stored, LoadChunk.existing, LoadChunk.refused)
    with engine.connect() as connection:
        sums = select(*(func.coalesce(func.sum(column), 0) for column in columns)).where(LoadChunk.load_id == load_id)
        return dict(zip(("stored", "existing", "refused"), connection.execute(sums).one(), strict=True))


def _read(connection: Connection, load_id: int) -> LoadRun:
    columns = (Load.load_id, Load.source, Load.digest, Load.state, Load.started_at, Load.counts)
    row = connection.execute(select(*columns).where(Load.load_id == load_id)).one_or_none()
    if row is None:
        raise LoadError(f"there is no load {load_id}: `duotempo ingest --list` lists them")
    return LoadRun(*row)
