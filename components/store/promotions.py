"""The append-only record of what was promoted, refused or rolled back: MLflow keeps none."""

from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session

from components.store.schema import Promotion


def record_promotion(
    engine: Engine, version: str, from_version: str | None, actor: str, reason: str, state: str
) -> None:
    """Adds a line. `from_version` is the champion before, None for the first. Raises StoreError."""
    line = {"version": version, "from_version": from_version, "actor": actor, "reason": reason, "state": state}
    with engine.begin() as connection:
        connection.execute(insert(Promotion).values(line))


def list_promotions(engine: Engine) -> list[Promotion]:
    """All lines, oldest first. Raises StoreError."""
    with Session(engine) as session:
        return list(session.scalars(select(Promotion).order_by(Promotion.promotion_id)))
