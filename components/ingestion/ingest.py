"""Bulk ingestion: cleans a dataset and stores it in one transaction."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd
from sqlalchemy import Connection, Engine, select

from components.core.columns import Columns
from components.datasets.sources import Dataset
from components.ingestion.admission import ADMIT_ALL, Admission, admit
from components.ingestion.clean import clean_events, clean_items
from components.settings import Settings
from components.store.db_errors import rejected_row
from components.store.load import append_valid_events, quarantine_all, upsert_valid_items
from components.store.privacy import Privacy
from components.store.rows import EventRow, ItemRow
from components.store.schema import Item

_TYPES = {
    Columns.VALUE: "float64",
    Columns.OCCURRED_AT: "datetime64[us, UTC]",
    Columns.PUBLISHED_AT: "datetime64[us, UTC]",
}
MAX_UNKNOWN_EVENTS = 10
logger = logging.getLogger(__name__)


def records(frame: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yields each row as a dict by column, with None for missing values."""
    columns = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(frame.columns, row, strict=True))


def as_frame(rows: Sequence[EventRow] | Sequence[ItemRow], kind: type[EventRow] | type[ItemRow]) -> pd.DataFrame:
    """Converts cleaned rows to an events or items frame."""
    frame = pd.DataFrame(rows, columns=list(kind._fields))
    return frame.astype({name: dtype for name, dtype in _TYPES.items() if name in frame})


@dataclass(frozen=True)
class IngestReport:
    """Counts of an ingestion.

    Attributes:
        accepted: Stored events.
        duplicates: Events that were stored already.
        rejected: Rejected events and items by error code.
        unknown_events: The most frequent unsupported values of the column `event`, with their counts.
    """

    accepted: int
    duplicates: int
    rejected: dict[str, int]
    items_added: int
    items_updated: int
    unknown_events: dict[str, int] = field(default_factory=dict)


def ingest(engine: Engine, dataset: Dataset, settings: Settings, *, source: str, now: datetime) -> IngestReport:
    """Loads a dataset in one transaction. Idempotent: loading a dataset again adds nothing.

    A row that the database refuses is rejected as `unstorable`, without affecting others. The column description is
    stored only if `dataset.text` includes it, as it serves for item texts only. Items derived from the events (no
    column but item_id) do not update existing items.

    Args:
        source: Recorded with events and quarantined rows.
        now: Timezone-aware.

    Raises:
        StoreError: Postgres cannot be used.
        PrivacyError: The store is tied to another privacy key.
    """
    derived = set(dataset.items.columns) == {Columns.ITEM}
    not_stored = [] if Columns.DESCRIPTION in dataset.text else [Columns.DESCRIPTION]
    items = clean_items(records(dataset.items.drop(columns=not_stored, errors="ignore")), source=source)
    with engine.begin() as connection:
        added, updated, invalid_items = upsert_valid_items(connection, items.rows, replace=not derived)
        events = clean_events(
            records(dataset.events),
            source=source,
            settings=settings.events,
            known_items=set(connection.scalars(select(Item.item_id))),
            now=now,
            admission=_admission(connection, dataset, Privacy(settings)),
        )
        existing, refused = append_valid_events(connection, events.rows)
        rejected = [*items.rejected, *(rejected_row(*entry) for entry in invalid_items), *events.rejected, *refused]
        quarantine_all(connection, source, rejected)
    accepted = len(events.rows) - len(existing) - len(refused)
    duplicates = events.duplicates + len(existing)
    unknown_events = Counter(
        str(entry.row.get(Columns.EVENT)) for entry in rejected if entry.reason.startswith("unknown_event:")
    )
    report = IngestReport(
        accepted,
        duplicates,
        rejected=_by_code(entry.reason for entry in rejected),
        items_added=added,
        items_updated=updated,
        unknown_events=dict(unknown_events.most_common(MAX_UNKNOWN_EVENTS)),
    )
    logger.info("ingest of %s: %s", source, report)
    return report


def _admission(connection: Connection, dataset: Dataset, privacy: Privacy) -> Admission:
    if Columns.USER not in dataset.events:
        return ADMIT_ALL
    return admit(connection, dataset.events[Columns.USER].unique(), privacy)


def _by_code(reasons: Iterable[str]) -> dict[str, int]:
    return dict(Counter(reason.split(":", 1)[0] for reason in reasons).most_common())
