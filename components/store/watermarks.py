"""How far each source has been read, and which process reads it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, insert, select, text

from components.store.engine import StoreError
from components.store.loads import LoadError
from components.store.schema import SourceWatermark

_LOCK_SPACE = 0x736F7572


def read_watermark(engine: Engine, source: str) -> str | None:
    """The watermark of a source's newest load; None if it was never read."""
    newest = select(SourceWatermark.watermark).where(SourceWatermark.source == source)
    with engine.connect() as connection:
        return connection.scalars(newest.order_by(SourceWatermark.load_id.desc()).limit(1)).one_or_none()


def move_watermark(connection: Connection, source: str, watermark: str, load_id: int) -> None:
    """Moves a source's watermark in the transaction that completes the load."""
    connection.execute(insert(SourceWatermark).values(source=source, watermark=watermark, load_id=load_id))


def move_back(connection: Connection, load_id: int) -> None:
    """Moves a source's watermark to where it was before a load: its rows, and later ones, are read again."""
    connection.execute(
        text(
            "DELETE FROM source_watermarks AS later USING source_watermarks AS undone WHERE undone.load_id = :load"
            " AND later.source = undone.source AND later.load_id >= undone.load_id"
        ),
        {"load": load_id},
    )


@contextmanager
def exclusive_source(engine: Engine, source: str) -> Iterator[None]:
    """Holds a source while it is read and loaded; a killed process lets go of it.

    Raises:
        LoadError: Another process holds it.
    """
    lock = {"space": _LOCK_SPACE, "source": source}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:space, hashtext(:source))"), lock):
            raise LoadError(f"the source {source} is being loaded by another process: wait until it ends, or stop it")
        try:
            yield
        finally:
            with suppress(StoreError):  # a lost connection has let go of it
                connection.execute(text("SELECT pg_advisory_unlock(:space, hashtext(:source))"), lock)
