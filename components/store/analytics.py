"""Reads what was served and how users responded in a time window, of consenting users only; stores measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Engine, select, text
from sqlalchemy.dialects.postgresql import insert

from components.core.columns import Columns
from components.store.schema import DriftMeasure, OnlineMetric

PROPENSITY, GREEDY = "propensity", "greedy"
"""The probability, in (0, 1], of the item at its rank, and whether it ranks there without exploration, too; see
`components.ranking.rerank`."""
EXPOSURE_COLUMNS = [
    Columns.REQUEST, Columns.USER, Columns.MODEL_VERSION, Columns.VARIANT, Columns.ITEM, Columns.RANK, Columns.SCORE,
    PROPENSITY, GREEDY,
]  # fmt: skip
FEEDBACK_COLUMNS = [Columns.REQUEST, Columns.ITEM, Columns.EVENT, Columns.VALUE]
_EXPOSURES = """
    SELECT request_id, user_id, model_version, variant, shown.item_id, shown.rank, shown.score, shown.propensity,
        coalesce(shown.greedy, shown.propensity = 1) AS greedy
    FROM impressions LEFT JOIN users USING (user_id) LEFT JOIN LATERAL json_to_recordset(items)
        AS shown(item_id text, rank float8, score float8, propensity float8, greedy bool) ON true
    WHERE served_at >= :since AND served_at < :until AND coalesce(consent, true)
    ORDER BY served_at, request_id, shown.rank"""
_EVENTS = "FROM events JOIN users USING (user_id) WHERE occurred_at >= :since AND occurred_at < :until AND consent"
_FEEDBACK = f"SELECT request_id, item_id, event, value {_EVENTS} AND request_id IS NOT NULL"
_EVENT_COUNTS = f"""
    SELECT event, hour, item_id, count(*) FROM (
        SELECT event, extract(hour FROM occurred_at AT TIME ZONE 'UTC')::int AS hour, item_id {_EVENTS}
    ) AS counted GROUP BY GROUPING SETS ((event), (hour), (item_id))"""
_SCORES = """
    SELECT (shown->>'score')::float8 FROM (
        SELECT items FROM impressions LEFT JOIN users USING (user_id)
        WHERE served_at >= :since AND served_at < :until AND coalesce(consent, true) AND model_version = :version
        ORDER BY request_id LIMIT :answers
    ) AS answers, json_array_elements(items) AS shown WHERE shown->>'score' IS NOT NULL"""
_SERVING_VERSION = """
    SELECT model_version FROM impressions WHERE served_at >= :since AND served_at < :until
    ORDER BY variant = 'champion' DESC, served_at DESC LIMIT 1"""
_SHADOWS = """
    SELECT model_version, count(*) AS answers, count(error) AS failed, avg(overlap) AS overlap,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS seconds
    FROM shadow_answers WHERE answered_at >= :since AND answered_at < :until
    GROUP BY model_version ORDER BY min(answered_at)"""
_EVENTS_SINCE = "SELECT count(*) FROM events JOIN users USING (user_id) WHERE occurred_at >= :cut AND consent"
Table = type[DriftMeasure] | type[OnlineMetric]


@dataclass(frozen=True)
class Window:
    """A time window [since, until), both ends timezone-aware."""

    since: datetime
    until: datetime

    @classmethod
    def before(cls, until: datetime, days: float) -> "Window":
        """The window of the last `days` before `until`."""
        return cls(until - timedelta(days=days), until)

    @property
    def bounds(self) -> dict[str, datetime]:
        return {"since": self.since, "until": self.until}


@dataclass(frozen=True)
class EventCounts:
    """Event counts of a window by kind, by hour of the day (UTC, 0 to 23) and by item."""

    kinds: dict[str, int]
    hours: dict[int, int]
    items: dict[str, int]

    @property
    def events(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True)
class ShadowStats:
    """Statistics of a shadow's answers in a window.

    Attributes:
        overlap: Mean share of the served list that the shadow lists, too; None where all answers failed.
        seconds: 95th percentile of its response times.
    """

    model_version: str
    answers: int
    failed: int
    overlap: float | None
    seconds: float


def read_exposures(engine: Engine, window: Window) -> pd.DataFrame:
    """Reads one row per item served in the window, with EXPOSURE_COLUMNS; an empty list gives one row without item.

    Raises StoreError.
    """
    return _frame(engine, _EXPOSURES, window, EXPOSURE_COLUMNS, (Columns.RANK, Columns.SCORE, PROPENSITY))


def read_feedback(engine: Engine, window: Window) -> pd.DataFrame:
    """Reads the events of the window that have a request_id, with FEEDBACK_COLUMNS. Raises StoreError."""
    return _frame(engine, _FEEDBACK, window, FEEDBACK_COLUMNS, (Columns.VALUE,))


def count_events(engine: Engine, window: Window) -> EventCounts:
    """Counts the events of the window in Postgres. Raises StoreError."""
    counts = EventCounts({}, {}, {})
    with engine.connect() as connection:
        for kind, hour, item, count in connection.execute(text(_EVENT_COUNTS), window.bounds):
            if kind is not None:
                counts.kinds[kind] = count
            elif hour is not None:
                counts.hours[hour] = count
            else:
                counts.items[item] = count
    return counts


def read_scores(engine: Engine, window: Window, version: str, max_lists: int) -> NDArray[np.float64]:
    """Reads the scores (n,) float64 of the items that a model version served, from a sample of the window's lists.

    Request ids are random, so the first `max_lists` of them in sort order are a fair sample. Raises StoreError.
    """
    with engine.connect() as connection:
        scores = connection.scalars(text(_SCORES), {**window.bounds, "version": version, "answers": max_lists})
        return np.array(scores.all(), dtype=np.float64)


def read_shadows(engine: Engine, window: Window) -> list[ShadowStats]:
    """Reads the statistics of the versions that were shadows in the window. Raises StoreError."""
    with engine.connect() as connection:
        return [ShadowStats(*row) for row in connection.execute(text(_SHADOWS), window.bounds)]


def serving_version(engine: Engine, window: Window) -> str | None:
    """The last champion that served in the window, else the last version that served; None if none did.

    Raises StoreError.
    """
    with engine.connect() as connection:
        return connection.scalar(text(_SERVING_VERSION), window.bounds)


def count_events_since(engine: Engine, cut: datetime) -> int:
    """Counts the events at or after `cut`, which a snapshot with this cut lacks. Raises StoreError."""
    with engine.connect() as connection:
        return connection.execute(text(_EVENTS_SINCE), {"cut": cut}).scalar_one()


def read_categories(engine: Engine) -> dict[str, list[str]]:
    """Reads the categories of every item. Raises StoreError."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT item_id, category FROM items"))
        return {row.item_id: row.category for row in rows}


def _frame(engine: Engine, query: str, window: Window, columns: list[str], numbers: tuple[str, ...]) -> pd.DataFrame:
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(query), window.bounds)]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    return frame.astype(dict.fromkeys(numbers, "float64"))


def record_drift(engine: Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows into the table drift; existing rows (same feature and time) stay unchanged."""
    _record(engine, DriftMeasure, rows)


def record_online(engine: Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows into the table online_metrics; existing rows (same variant, metric and time) stay unchanged."""
    _record(engine, OnlineMetric, rows)


def drift_history(engine: Engine, since: datetime) -> list[dict[str, Any]]:
    """Reads the rows of drift measured since then, oldest first. Raises StoreError."""
    return _history(engine, DriftMeasure, since)


def online_history(engine: Engine, since: datetime) -> list[dict[str, Any]]:
    """Reads the rows of online_metrics measured since then, oldest first. Raises StoreError."""
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
