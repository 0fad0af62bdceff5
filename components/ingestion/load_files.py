"""Loads opened files: judges all rows first, then stores them as one load, which can be resumed and undone."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from duckdb import DuckDBPyConnection
from sqlalchemy import Connection, Engine, select

from components.datasets.opened_files import OpenedFiles
from components.files.connection import scratch_errors
from components.ingestion.admission import ADMIT_ALL, Admission, admit
from components.ingestion.judge_events import Admit, Verdicts, judge_events
from components.ingestion.judge_items import ItemVerdicts, judge_items
from components.ingestion.store_events import store_events
from components.ingestion.store_items import store_items
from components.ingestion.tables import example_rows
from components.mapping.mapping_file import mapping_text
from components.settings import Settings
from components.store.consent import lock_users, refused
from components.store.engine import StoreError
from components.store.load import quarantine_all
from components.store.loads import (
    COMPLETE,
    RUNNING,
    STOPPED,
    LoadRun,
    add_counts,
    begin_load,
    chunk_counts,
    exclusive,
    set_state,
    write_state,
)
from components.store.privacy import Privacy
from components.store.rows import Rejected
from components.store.schema import Item

REFUSED = "refused"
"""Code of rows that the database refuses, or whose user was erased while they were loaded."""
BATCH_SIZE = 20_000
"""Rows that are read, or put into quarantine, at a time."""
logger = logging.getLogger(__name__)


AtCompletion = Callable[[Connection, int], None]
"""Writes something else in the transaction that completes a load, whose number it is given."""


class Progress(Protocol):
    """Shows how far a load is."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def no_progress(stage: str, done: int, total: int) -> None:
    """Shows nothing."""


def nothing_more(_store: Connection, _load_id: int) -> None:
    """Writes nothing."""


@dataclass(frozen=True)
class JudgedFiles:
    """The verdicts on all rows of the opened files; nothing is stored yet.

    Attributes:
        examples: The first rejected row of each error code: its number in the file from 0, its reason, and its
            content as JSON.
        rejected_share: The share of rejected rows, of the file in which it is larger.
    """

    events: Verdicts
    items: ItemVerdicts
    examples: Mapping[str, tuple[int, str, str]]
    rejected_share: float

    @property
    def rejected(self) -> dict[str, int]:
        """Rejected events and items by error code, most frequent first."""
        counts = Counter(self.events.rejected) + Counter(self.items.rejected)
        return dict(counts.most_common())

    def too_many_rejected(self, limit: float) -> bool:
        """Whether a larger share than `ingest.max_rejected_share` is rejected, or everything."""
        return self.rejected_share > limit or self.rejected_share == 1


@dataclass(frozen=True)
class LoadReport:
    """Counts of a load.

    Attributes:
        accepted: Stored events.
        duplicates: Events that were stored already, or that repeat an earlier row.
        rejected: Rejected events and items by error code.
        resumed: Whether the load continued one that had stopped.
    """

    load_id: int
    accepted: int
    duplicates: int
    rejected: Mapping[str, int]
    items_added: int
    items_updated: int
    resumed: bool = False


def judge_files(
    connection: DuckDBPyConnection,
    opened: OpenedFiles,
    settings: Settings,
    *,
    source: str,
    now: datetime,
    engine: Engine | None = None,
) -> JudgedFiles:
    """Judges all rows of the files against the store's catalogue, consents and erasures; stores nothing.

    Args:
        connection: The one of `open_files`.
        source: Recorded with every row; part of a derived event_id.
        now: Timezone-aware.
        engine: Without it the files are judged alone, as for an empty store.

    Raises:
        ScratchError: The disk of the connection's folder is full.
        StoreError: Postgres cannot be used.
        PrivacyError: The store is tied to another privacy key.
    """
    with scratch_errors(connection):
        return _judge(connection, opened, settings, source, now, engine)


def load_files(
    connection: DuckDBPyConnection,
    opened: OpenedFiles,
    judged: JudgedFiles,
    engine: Engine,
    settings: Settings,
    *,
    source: str,
    progress: Progress = no_progress,
    at_completion: AtCompletion = nothing_more,
) -> LoadReport:
    """Stores the judged files; rejected rows go to quarantine. Loading the same files again adds nothing.

    If a load of the same files, mapping and source stopped before, it is continued.

    Args:
        connection: After `judge_files`.
        at_completion: Called with the number of the load in the transaction that completes it.

    Raises:
        LoadError: Another process is loading the same files.
        ScratchError: The disk of the connection's folder is full; the next call continues the load.
        StoreError: Postgres cannot be used; the next call continues the load.
        PrivacyError: The store is tied to another privacy key.
    """
    digest = _digest(opened, source)
    load, resumed = begin_load(engine, source, digest)
    with exclusive(engine, load.load_id):
        set_state(engine, load.load_id, RUNNING)
        try:
            with scratch_errors(connection):
                items = _store(connection, opened, judged, engine, settings, load, progress)
        except BaseException as error:
            error.add_note(
                f"load {load.load_id} stopped in the middle: the same command continues it, "
                f"`duotempo ingest --undo {load.load_id}` takes it back"
            )
            with suppress(StoreError):  # a load that cannot be marked is found as well: nothing holds it
                set_state(engine, load.load_id, STOPPED)
            raise
        chunks = chunk_counts(engine, load.load_id)
        rejected = Counter(judged.rejected)
        rejected += Counter({REFUSED: chunks["refused"] + items["items_refused"]})
        report = LoadReport(
            load.load_id,
            chunks["stored"],
            judged.events.duplicates + chunks["existing"],
            dict(rejected.most_common()),
            items["items_added"],
            items["items_updated"],
            resumed,
        )
        with engine.begin() as store:
            write_state(store, load.load_id, COMPLETE, _counts(report, judged))
            at_completion(store, load.load_id)
    logger.info("load %d of %s: %s", load.load_id, source, report)
    return report


def _judge(
    connection: DuckDBPyConnection,
    opened: OpenedFiles,
    settings: Settings,
    source: str,
    now: datetime,
    engine: Engine | None,
) -> JudgedFiles:
    items = judge_items(connection, source=source)
    connection.execute("CREATE OR REPLACE TABLE known_items AS SELECT item_id FROM good_items")
    if engine is not None:
        _add_catalogue(connection, engine)
    events = Verdicts(0, 0, {})
    examples = example_rows(connection, "rejected_items")
    if "events" in opened.files:
        privacy = Privacy(settings)
        events = judge_events(
            connection,
            source=source,
            settings=settings.events,
            now=now,
            admit=_admit(engine, privacy),
            keep_raw=not privacy.pseudonyms,
            mapped=opened.mapping.role("events").fields,
        )
        examples |= example_rows(connection, "rejected_events")
    share = max(
        _share(events.accepted + events.duplicates, events.rejected),
        _share(items.accepted, items.rejected) if "items" in opened.files else 0.0,
    )
    return JudgedFiles(events, items, examples, share)


def _share(good: int, rejected: Mapping[str, int]) -> float:
    bad = sum(rejected.values())
    return bad / (good + bad) if good + bad else 0.0


def _store(
    connection: DuckDBPyConnection,
    opened: OpenedFiles,
    judged: JudgedFiles,
    engine: Engine,
    settings: Settings,
    load: LoadRun,
    progress: Progress,
) -> dict[str, int]:
    privacy = Privacy(settings)

    def counter(stage: str, total: int) -> Callable[[int], None]:
        done = 0

        def advance(rows: int) -> None:
            nonlocal done
            done = min(done + rows, total)
            progress(stage, done, total)

        return advance

    advance = counter("items", judged.items.accepted)
    items = store_items(connection, engine, load, judged.items.columns, advance, replace=not opened.derived_items)
    _quarantine(connection, engine, privacy, load, "rejected_items")
    if "events" in opened.files:
        store_events(connection, engine, privacy, load, counter("events", judged.events.accepted))
        _quarantine(connection, engine, privacy, load, "rejected_events")
    return items


def _quarantine(connection: DuckDBPyConnection, engine: Engine, privacy: Privacy, load: LoadRun, table: str) -> None:
    """Puts rejected rows into quarantine; only the reason for users who were erased since, or withdrew consent.

    A resumed load goes on behind the rows that it has put there already.
    """
    user = "user_id" if table == "rejected_events" else "NULL"
    done = load.counts.get(table, 0)
    rows = connection.cursor().execute(f"SELECT {user}, raw, reason FROM {table} ORDER BY arrival OFFSET {int(done)}")
    while batch := rows.fetchmany(BATCH_SIZE):
        users = {user for user, _, _ in batch if user}
        with engine.begin() as store:
            lock_users(store, users)
            reasons = refused(store, privacy, users)
            rejected = [
                Rejected(-1, {}, reasons[user]) if user in reasons else Rejected(-1, json.loads(raw), reason)
                for user, raw, reason in batch
            ]
            quarantine_all(store, load.source, rejected, load.load_id)
            done += len(batch)
            add_counts(store, load.load_id, {table: done})


def _add_catalogue(connection: DuckDBPyConnection, engine: Engine) -> None:
    with engine.connect().execution_options(yield_per=BATCH_SIZE) as store:
        for items in store.execute(select(Item.item_id)).scalars().partitions():
            connection.execute("INSERT INTO known_items SELECT unnest($1)", [list(items)])


def _admit(engine: Engine | None, privacy: Privacy) -> Admit:
    def admit_users(users: Collection[object]) -> Admission:
        if engine is None:
            return ADMIT_ALL
        with engine.begin() as store:
            return admit(store, users, privacy)

    return admit_users


def _counts(report: LoadReport, judged: JudgedFiles) -> dict[str, Any]:
    """What the journal keeps of a complete load."""
    counts = {name: value for name, value in asdict(report).items() if name not in ("load_id", "resumed")}
    return {**counts, "left_out": dict(judged.events.left_out)}


def _digest(opened: OpenedFiles, source: str) -> str:
    """sha256 of the files, their mapping and the source: loads with equal digests are the same."""
    digest = hashlib.sha256(f"{source}\n{mapping_text(opened.mapping)}".encode())
    for table in opened.tables.values():
        for file in table.files:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
