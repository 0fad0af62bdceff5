"""The way in: cleaned rows to Postgres by COPY, rejected ones to quarantine, once each however often they come."""

import json
import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from sqlalchemy import Connection, Engine, select, text

from components.columns import Columns
from components.datasets.sources import Dataset
from components.privacy import Privacy
from components.settings import Settings
from components.store.admission import admit
from components.store.bulk import copy_rows, plain_rows
from components.store.clean import clean_events, clean_items
from components.store.frames import EVENT_COLUMNS, ITEM_COLUMNS
from components.store.partitions import ensure_partitions
from components.store.schema import Item

logger = logging.getLogger(__name__)

_EVENTS = ", ".join(EVENT_COLUMNS)
_ITEMS = ", ".join(ITEM_COLUMNS)
_CHANGED = ", ".join(f"{name} = EXCLUDED.{name}" for name in ITEM_COLUMNS if name != Columns.ITEM)


@dataclass(frozen=True)
class IngestReport:
    """accepted, duplicates: events. rejected: events and items, counted by the code that begins a reason."""

    accepted: int
    duplicates: int
    rejected: dict[str, int]
    items_added: int
    items_updated: int


def ingest(engine: Engine, dataset: Dataset, settings: Settings, *, source: str, now: datetime) -> IngestReport:
    """Loads a dataset in one transaction: all of it or nothing. The same dataset twice adds nothing.

    A description that `dataset.text` does not name is not stored: nothing else but item text is made of it. Items that
    were derived from the events (no column but item_id) leave known items as they are. Raises StoreError,
    PrivacyError.
    """
    derived = set(dataset.items.columns) == {Columns.ITEM}
    unreadable = [] if Columns.DESCRIPTION in dataset.text else [Columns.DESCRIPTION]
    items = clean_items(dataset.items.drop(columns=unreadable, errors="ignore"), source=source)
    with engine.begin() as connection:
        added, updated = upsert_items(connection, items.rows, replace=not derived)
        known = set(connection.scalars(select(Item.item_id)))
        raw, refused = admit(connection, dataset.events, Privacy(settings))
        events = clean_events(raw, source=source, settings=settings.events, known_items=known, now=now)
        accepted = append_events(connection, events.rows)
        rejected = pd.concat([items.rejected, events.rejected, refused])
        quarantine(connection, source, rejected)
    duplicates = events.duplicates + len(events.rows) - accepted
    report = IngestReport(accepted, duplicates, _by_code(rejected[Columns.REASON].tolist()), added, updated)
    logger.info("ingest of %s: %s", source, report)
    return report


def append_events(connection: Connection, rows: pd.DataFrame) -> int:
    """Stores an events frame (event_id unique in it) and the users it names; how many events were new.

    received_at grows by a microsecond a row, so that it keeps the order of arrival among events of one time.
    """
    if rows.empty:
        return 0
    ensure_partitions(connection, rows[Columns.OCCURRED_AT].dt.normalize().unique())
    _stage(connection, "incoming_events", f"{_EVENTS}, 0::bigint AS arrival FROM events")
    copied = rows[EVENT_COLUMNS].assign(arrival=range(len(rows)))
    copy_rows(connection, "incoming_events", list(copied.columns), plain_rows(copied))
    connection.execute(
        text(
            "INSERT INTO users (user_id) SELECT DISTINCT user_id FROM incoming_events ORDER BY 1 ON CONFLICT DO NOTHING"
        )
    )
    inserted = connection.execute(
        text(
            "WITH fresh AS (INSERT INTO event_keys (event_id, occurred_at)"
            " SELECT event_id, occurred_at FROM incoming_events ORDER BY event_id"
            " ON CONFLICT DO NOTHING RETURNING event_id)"
            f" INSERT INTO events ({_EVENTS}, received_at)"
            f" SELECT {_EVENTS}, now() + arrival * interval '1 microsecond'"
            " FROM incoming_events JOIN fresh USING (event_id)"
        )
    )
    return inserted.rowcount


def upsert_items(connection: Connection, rows: pd.DataFrame, *, replace: bool = True) -> tuple[int, int]:
    """Stores an items frame: how many items were new, how many changed.

    Without `replace` known ones stay as they are.
    """
    if rows.empty:
        return 0, 0
    _stage(connection, "incoming_items", f"{_ITEMS} FROM items")
    copy_rows(connection, "incoming_items", ITEM_COLUMNS, plain_rows(rows[ITEM_COLUMNS]))
    update = f"UPDATE SET {_CHANGED}, updated_at = now() WHERE items.content_hash <> EXCLUDED.content_hash"
    added = connection.scalars(
        text(
            f"INSERT INTO items ({_ITEMS}) SELECT {_ITEMS} FROM incoming_items ORDER BY item_id"
            f" ON CONFLICT (item_id) DO {update if replace else 'NOTHING'} RETURNING xmax = 0"
        )
    ).all()  # xmax is 0 in a row that no earlier version precedes
    return sum(added), len(added) - sum(added)


def quarantine(connection: Connection, source: str, rejected: pd.DataFrame) -> None:
    """Keeps rejected rows (`row`, `reason`) whole; one that this source brought before is not kept again."""
    if rejected.empty:
        return
    _stage(connection, "incoming_quarantine", '"row", reason FROM quarantine')
    rows = ((json.dumps(row), reason) for row, reason in plain_rows(rejected[[Columns.ROW, Columns.REASON]]))
    copy_rows(connection, "incoming_quarantine", ["row", "reason"], rows)
    connection.execute(
        text(
            'INSERT INTO quarantine (source, "row", reason)'
            ' SELECT :source, i."row", i.reason FROM incoming_quarantine i'
            " WHERE NOT EXISTS (SELECT FROM quarantine q"
            ' WHERE q.source = :source AND q."row" = i."row" AND q.reason = i.reason)'
        ),
        {"source": source},
    )


def _stage(connection: Connection, table: str, columns: str) -> None:
    """An empty table of this session's own; it stays for the next transaction, its rows do not."""
    connection.execute(
        text(f"CREATE TEMP TABLE IF NOT EXISTS {table} ON COMMIT DELETE ROWS AS SELECT {columns} LIMIT 0")
    )
    connection.execute(text(f"TRUNCATE {table}"))


def _by_code(reasons: Collection[str]) -> dict[str, int]:
    return dict(Counter(reason.split(":", 1)[0] for reason in reasons).most_common())
