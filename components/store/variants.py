"""Which version plays which part in the service. The running service reads it every second and follows."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, insert, select, text

from components.store.schema import AssignedVariant

CHAMPION: Final = "champion"
CANARY: Final = "canary"
CHALLENGER: Final = "challenger"
SHADOW: Final = "shadow"
LOCK = 7_236_418
"""Of changes, so that two at once come one after the other."""


@dataclass(frozen=True)
class Part:
    """A version in a part; `share` of the users, for a shadow of the requests. The champion has all who are left."""

    variant: str
    model_version: str
    share: float = 1.0


def read_parts(connection: Connection) -> dict[str, Part]:
    """The parts by variant; none before the first deployment. Raises StoreError."""
    table = AssignedVariant
    rows = connection.execute(select(table.variant, table.model_version, table.share))
    return {row.variant: Part(*row) for row in rows}


def parts(engine: Engine) -> dict[str, Part]:
    """As `read_parts`, in a transaction of its own. Raises StoreError."""
    with engine.connect() as connection:
        return read_parts(connection)


def put_champion(engine: Engine, version: str) -> None:
    """From now on `version` answers everybody whom no challenger has; a canary ends. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _remove(connection, CANARY)
        _put(connection, Part(CHAMPION, version))


def begin_canary(engine: Engine, champion: str, version: str, share: float) -> None:
    """From now on `version` answers a share of the users beside the champion. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _put(connection, Part(CHAMPION, champion))
        _put(connection, Part(CANARY, version, share))


def promote_canary(engine: Engine, version: str) -> bool:
    """Makes the canary the champion; whether `version` was the canary still, or is the champion by now. Raises
    StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        now = read_parts(connection)
        if version not in (part.model_version for name in (CANARY, CHAMPION) if (part := now.get(name))):
            return False
        _remove(connection, CANARY)
        _put(connection, Part(CHAMPION, version))
        return True


def end_canary(engine: Engine, version: str) -> None:
    """The champion answers alone again, if `version` is the canary. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _remove(connection, CANARY, version)


def put_beside(engine: Engine, beside: list[Part]) -> None:
    """These are the challenger and the shadow from now on, and no others. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _remove(connection, CHALLENGER)
        _remove(connection, SHADOW)
        for part in beside:
            _put(connection, part)


def _lock(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _put(connection: Connection, part: Part) -> None:
    """A part that stays as it is keeps the time since when it has been so."""
    if read_parts(connection).get(part.variant) == part:
        return
    _remove(connection, part.variant)
    values = {"variant": part.variant, "model_version": part.model_version, "share": part.share}
    connection.execute(insert(AssignedVariant).values(**values, since=func.clock_timestamp()))


def _remove(connection: Connection, variant: str, version: str | None = None) -> None:
    rows = delete(AssignedVariant).where(AssignedVariant.variant == variant)
    connection.execute(rows if version is None else rows.where(AssignedVariant.model_version == version))
