"""What the service showed, to whom, when and how likely."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from components.store.partitions import ensure_partitions
from components.store.schema import Impression


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
