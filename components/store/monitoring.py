"""The record of what the flow `monitor` measured: the tables drift and online_metrics."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert

from components.store.schema import DriftMeasure, OnlineMetric

Table = type[DriftMeasure] | type[OnlineMetric]


def record_drift(engine: Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Keeps rows of the table drift; a feature that was measured at the same time before is kept as it was."""
    _record(engine, DriftMeasure, rows)


def record_online(engine: Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Keeps rows of the table online_metrics, each metric of a variant once a time."""
    _record(engine, OnlineMetric, rows)


def drift_history(engine: Engine, since: datetime) -> list[dict[str, Any]]:
    """The rows of drift that were measured since then, oldest first. Raises StoreError."""
    return _history(engine, DriftMeasure, since)


def online_history(engine: Engine, since: datetime) -> list[dict[str, Any]]:
    """The rows of online_metrics that were measured since then, oldest first. Raises StoreError."""
    return _history(engine, OnlineMetric, since)


def _record(engine: Engine, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        with engine.begin() as connection:
            connection.execute(insert(table).on_conflict_do_nothing(), list(rows))


def _history(engine: Engine, table: Table, since: datetime) -> list[dict[str, Any]]:
    columns = table.__table__.columns
    query = select(*columns).where(table.measured_at >= since).order_by(*table.__table__.primary_key)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
