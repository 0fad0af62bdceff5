"""Events on their way into the spool and out of it."""

from collections.abc import Iterable
from datetime import datetime

from components.core.columns import Columns
from components.core.ids import clean_id
from components.store.rows import EventRow, Rejected
from serving.storage.spool import Row


def spool_events(events: Iterable[EventRow]) -> list[Row]:
    return [
        Row(one.event_id, one.user_id, {**one._asdict(), Columns.OCCURRED_AT: one.occurred_at.isoformat()})
        for one in events
    ]


def spool_rejected(rejected: Iterable[Rejected]) -> list[Row]:
    """For quarantine."""
    return [Row(None, clean_id(one.row.get(Columns.USER)), one.row, one.reason) for one in rejected]


def waiting_events(rows: Iterable[Row]) -> list[EventRow]:
    """The events among the rows."""
    return [
        EventRow(**{**row.values, Columns.OCCURRED_AT: datetime.fromisoformat(row.values[Columns.OCCURRED_AT])})
        for row in rows
        if row.reason is None
    ]
