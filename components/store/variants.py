"""The assignment of model versions to variants. The service reads it every second and switches accordingly."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, insert, select, text

from components.store.schema import AssignedVariant

CHAMPION: Final = "champion"
CANARY: Final = "canary"
CHALLENGER: Final = "challenger"
SHADOW: Final = "shadow"
LOCK = 7_236_418
"""Advisory lock that serialises changes."""


@dataclass(frozen=True)
class ServingVariant:
    """A version that serves as a variant.

    Attributes:
        share: Of the users, for a shadow of the requests. The champion serves all remaining users.
    """

    variant: str
    model_version: str
    share: float = 1.0


def read_variants(connection: Connection) -> dict[str, ServingVariant]:
    """Reads the assignments by variant; empty before the first deployment. Raises StoreError."""
    table = AssignedVariant
    rows = connection.execute(select(table.variant, table.model_version, table.share))
    return {row.variant: ServingVariant(*row) for row in rows}


def current_variants(engine: Engine) -> dict[str, ServingVariant]:
    """Like `read_variants`, in its own transaction. Raises StoreError."""
    with engine.connect() as connection:
        return read_variants(connection)


def set_serving_champion(engine: Engine, version: str) -> None:
    """Makes `version` the champion and removes any canary. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _remove(connection, CANARY)
        _put(connection, ServingVariant(CHAMPION, version))


def start_canary(engine: Engine, champion: str, version: str, share: float) -> None:
    """Starts `version` as a canary for a share of the users, beside the champion. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _put(connection, ServingVariant(CHAMPION, champion))
        _put(connection, ServingVariant(CANARY, version, share))


def promote_canary(engine: Engine, version: str) -> bool:
    """Makes the canary the champion.

    Returns:
        False, without a change, if `version` is neither the canary nor the champion.

    Raises:
        StoreError: Postgres cannot be used.
    """
    with engine.begin() as connection:
        _lock(connection)
        current = read_variants(connection)
        if version not in (variant.model_version for name in (CANARY, CHAMPION) if (variant := current.get(name))):
            return False
        _remove(connection, CANARY)
        _put(connection, ServingVariant(CHAMPION, version))
        return True


def end_canary(engine: Engine, version: str) -> None:
    """Removes the canary if it is `version`. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _remove(connection, CANARY, version)


def set_challenger_and_shadow(engine: Engine, beside: list[ServingVariant]) -> None:
    """Replaces the challenger and the shadow by these. Raises StoreError."""
    with engine.begin() as connection:
        _lock(connection)
        _remove(connection, CHALLENGER)
        _remove(connection, SHADOW)
        for variant in beside:
            _put(connection, variant)


def _lock(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _put(connection: Connection, variant: ServingVariant) -> None:
    """Assigns a variant; an unchanged one keeps its `since`."""
    if read_variants(connection).get(variant.variant) == variant:
        return
    _remove(connection, variant.variant)
    values = {"variant": variant.variant, "model_version": variant.model_version, "share": variant.share}
    connection.execute(insert(AssignedVariant).values(**values, since=func.clock_timestamp()))


def _remove(connection: Connection, variant: str, version: str | None = None) -> None:
    rows = delete(AssignedVariant).where(AssignedVariant.variant == variant)
    connection.execute(rows if version is None else rows.where(AssignedVariant.model_version == version))
