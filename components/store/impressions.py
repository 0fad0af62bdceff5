"""What the service showed, to whom, when and how likely; and what a shadow would have shown."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from components.store.partitions import ensure_partitions
from components.store.schema import Impression, ShadowAnswer
from components.store.variants import Part


def record_impression(
    connection: Connection,
    *,
    request_id: str,
    user_id: str,
    model_version: str,
    variant: str,
    served_at: datetime,
    items: Sequence[dict[str, Any]],
) -> None:
    """Keeps one answer; `items` are {item_id, rank, score, propensity}. The same answer twice is kept once."""
    ensure_partitions(connection, [served_at], "impressions")
    answer = {
        "request_id": request_id,
        "user_id": user_id,
        "model_version": model_version,
        "variant": variant,
        "served_at": served_at,
        "items": list(items),
    }
    connection.execute(insert(Impression).values(answer).on_conflict_do_nothing())


def read_answerers(connection: Connection, request_ids: Collection[str]) -> dict[tuple[str, str], Part]:
    """Variant and version of the answers, by (request_id, user_id); those that were not kept are missing."""
    if not request_ids:
        return {}
    columns = select(Impression.request_id, Impression.user_id, Impression.variant, Impression.model_version)
    rows = connection.execute(columns.where(Impression.request_id == func.any(list(request_ids))))
    return {(row.request_id, row.user_id): Part(row.variant, row.model_version) for row in rows}


def record_shadow(
    connection: Connection,
    *,
    request_id: str,
    answered_at: datetime,
    model_version: str,
    overlap: float | None,
    seconds: float,
    error: str | None,
) -> None:
    """Keeps how a shadow would have answered: the share of the shown items that it lists too, or its error."""
    answer = {
        "request_id": request_id,
        "answered_at": answered_at,
        "model_version": model_version,
        "overlap": overlap,
        "seconds": seconds,
        "error": error,
    }
    connection.execute(insert(ShadowAnswer).values(answer).on_conflict_do_nothing())
