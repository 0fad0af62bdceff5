"""The bulk way in: a dataset, cleaned and stored in one transaction."""

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
from components.store.faults import rejected_row
from components.store.load import append_valid_events, quarantine_all, upsert_sound_items
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
    """Each row by the names of the columns, with None for whatever is absent."""
    columns = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(frame.columns, row, strict=True))


def as_frame(rows: Sequence[EventRow] | Sequence[ItemRow], kind: type[EventRow] | type[ItemRow]) -> pd.DataFrame:
    """The rows of a kind as an events frame, or an items frame."""
    frame = pd.DataFrame(rows, columns=list(kind._fields))
    return frame.astype({name: dtype for name, dtype in _TYPES.items() if name in frame})


@dataclass(frozen=True)
class IngestReport:
    """accepted, duplicates: events. rejected: events and items, counted by the code that begins a reason.
    unknown_events: the words of the column `event` that are none of ours, with their counts, the most frequent ones.
    """

    accepted: int
    duplicates: int
    rejected: dict[str, int]
    items_added: int
    items_updated: int
    unknown_events: dict[str, int] = field(default_factory=dict)


def ingest(engine: Engine, dataset: Dataset, settings: Settings, *, source: str, now: datetime) -> IngestReport:
    """Loads a dataset in one transaction: all of it or nothing. The same dataset twice adds nothing. A row that the
    database refuses is rejected as `unstorable`; it never keeps the others out.

    A description that `dataset.text` does not name is not stored: nothing else but item text is made of it. Items that
    were derived from the events (no column but item_id) leave known items as they are. Raises StoreError,
    PrivacyError.
    """
    derived = set(dataset.items.columns) == {Columns.ITEM}
    unreadable = [] if Columns.DESCRIPTION in dataset.text else [Columns.DESCRIPTION]
    items = clean_items(records(dataset.items.drop(columns=unreadable, errors="ignore")), source=source)
    with engine.begin() as connection:
        added, updated, unsound = upsert_sound_items(connection, items.rows, replace=not derived)
        events = clean_events(
            records(dataset.events),
            source=source,
            settings=settings.events,
            known_items=set(connection.scalars(select(Item.item_id))),
            now=now,
            admission=_admission(connection, dataset, Privacy(settings)),
        )
        known, refused = append_valid_events(connection, events.rows)
        rejected = [*items.rejected, *(rejected_row(*one) for one in unsound), *events.rejected, *refused]
        quarantine_all(connection, source, rejected)
    accepted = len(events.rows) - len(known) - len(refused)
    duplicates = events.duplicates + len(known)
    words = Counter(str(one.row.get(Columns.EVENT)) for one in rejected if one.reason.startswith("unknown_event:"))
    report = IngestReport(
        accepted,
        duplicates,
        rejected=_by_code(one.reason for one in rejected),
        items_added=added,
        items_updated=updated,
        unknown_events=dict(words.most_common(MAX_UNKNOWN_EVENTS)),
    )
    logger.info("ingest of %s: %s", source, report)
    return report


def _admission(connection: Connection, dataset: Dataset, privacy: Privacy) -> Admission:
    if Columns.USER not in dataset.events:
        return ADMIT_ALL
    return admit(connection, dataset.events[Columns.USER].unique(), privacy)


def _by_code(reasons: Iterable[str]) -> dict[str, int]:
    return dict(Counter(reason.split(":", 1)[0] for reason in reasons).most_common())
