"""Judges all rows of a file before any is stored, in columns: rows that need cleaning are read one by one."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from components.core.columns import Columns
from components.core.ids import clean_id
from components.core.normalize import epoch, json_safe
from components.datasets.opened_files import EVENTS_IN
from components.ingestion.admission import Admission
from components.ingestion.clean import judge_each, time_bounds
from components.ingestion.plain_rows import OPTIONAL, REQUIRED, event_of, plain_event
from components.ingestion.tables import LEFT_OUT, counts_by_code, create_table, insert_rows, view_columns, with_raw
from components.settings import EventSettings
from components.store.rows import EventRow, Rejected

BATCH_SIZE = 20_000
"""Rows that are read one by one at a time, and users that are admitted at a time."""
MAX_UNKNOWN_WORDS = 10
REJECT, RAW_TIME = "reject", "raw_timestamp"
_CODE = f"split_part({REJECT}, ':', 1)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GOOD = pa.schema(
    [
        ("arrival", pa.int64()),
        (Columns.EVENT_ID, pa.string()),
        (Columns.USER, pa.string()),
        (Columns.ITEM, pa.string()),
        (Columns.EVENT, pa.string()),
        (Columns.VALUE, pa.float64()),
        (Columns.TEXT, pa.string()),
        ("micros", pa.int64()),
        (Columns.SESSION, pa.string()),
        (Columns.REQUEST, pa.string()),
        (Columns.MODEL_VERSION, pa.string()),
        (Columns.VARIANT, pa.string()),
    ]
)
_REJECTED = pa.schema(
    [
        ("arrival", pa.int64()),
        ("row", pa.int64()),
        (Columns.USER, pa.string()),
        ("raw", pa.string()),
        ("reason", pa.string()),
    ]
)
_PEOPLE = pa.schema([(name, pa.string()) for name in (Columns.USER, "stored_id", "reason")])
Admit = Callable[[Collection[object]], Admission]
"""Which of these users (raw ids) may be stored, and as which ids: `components.ingestion.admission.admit`."""


@dataclass(frozen=True)
class Verdicts:
    """How many rows were accepted, rejected (by error code), or repeat the event of an earlier row.

    Attributes:
        left_out: Rows that the mapping leaves out, by code.
        unknown_words: The most frequent words that are no events, with their counts.
    """

    accepted: int
    duplicates: int
    rejected: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    unknown_words: Mapping[str, int] = field(default_factory=dict)


def judge_events(
    connection: DuckDBPyConnection,
    *,
    source: str,
    settings: EventSettings,
    now: datetime,
    admit: Admit,
    keep_raw: bool = True,
    mapped: Collection[str] | None = None,
) -> Verdicts:
    """Judges the rows of the view `events_in` by the rules of `clean_events`, against the table `known_items`.

    Creates the tables `good_events`, sorted by time and arrival, without columns that the file does not have, and
    `rejected_events`; `arrival` numbers the rows from 0. Rows of users that are refused are rejected with the reason
    only, without their content.

    Args:
        connection: With the view `events_in` (the columns of `clean_events`' rows as text, timestamp as DOUBLE with
            its text in raw_timestamp, row, raw: the columns of the file as a STRUCT, and reject: a reason known
            before) and the table `known_items`.
        source: Recorded with every event.
        now: Timezone-aware.
        keep_raw: Whether rejected rows keep the columns of the file. False with pseudonyms: they name the user.
        mapped: The names that the mapping reads, if it is known; other columns are not looked at.
    """
    columns = view_columns(connection, EVENTS_IN)
    if mapped is not None:
        columns = [name for name in columns if name not in OPTIONAL or name in mapped]
    times = time_bounds(settings, now)
    given = [name for name in (*REQUIRED, *OPTIONAL, RAW_TIME, REJECT) if name in columns]
    connection.execute(
        "CREATE OR REPLACE TABLE event_rows AS SELECT arrival, row,"
        " CASE WHEN NOT plain THEN CAST(to_json(raw) AS VARCHAR) END AS raw, plain, "
        f"{', '.join(given)} FROM (SELECT *, row_number() OVER () - 1 AS arrival, {plain_event(columns, times)} "
        f"AND {Columns.ITEM} IN (SELECT item_id FROM known_items) AS plain FROM {EVENTS_IN})"
    )
    _admit_plain_users(connection, admit)
    event = event_of(columns, f"coalesce(people.stored_id, event_rows.{Columns.USER})")
    good = pa.schema(
        [field for field in _GOOD if field.name not in OPTIONAL or field.name in (*columns, Columns.EVENT_ID)]
    )
    selected = ", ".join(f"{event[name]} AS {name}" for name in good.names[1:])
    connection.execute(
        f"CREATE OR REPLACE TABLE accepted_rows AS SELECT arrival, {selected} FROM event_rows"
        f" LEFT JOIN people ON people.user_id = event_rows.{Columns.USER}"
        " WHERE plain AND people.reason IS NULL",
        {"source": source},
    )
    create_table(connection, "rejected_events", _REJECTED)
    _judge_one_by_one(connection, given, good, source, settings, now, admit, keep_raw)
    return _deduplicate(connection, _left_out(connection) if REJECT in given else {})


def _admit_plain_users(connection: DuckDBPyConnection, admit: Admit) -> None:
    """Makes the table `people`: users of plain rows that are stored under another id, or refused."""
    create_table(connection, "people", _PEOPLE)
    users = connection.cursor().execute(f"SELECT DISTINCT {Columns.USER} FROM event_rows WHERE plain")
    while rows := users.fetchmany(BATCH_SIZE):
        admission = admit([user for (user,) in rows])
        special = [
            (user, stored, admission.refused.get(stored))
            for (user,) in rows
            if (stored := admission.names.get(user, user)) != user or stored in admission.refused
        ]
        insert_rows(connection, "people", _PEOPLE, special)


def _judge_one_by_one(
    connection: DuckDBPyConnection,
    given: Sequence[str],
    schema: pa.Schema,
    source: str,
    settings: EventSettings,
    now: datetime,
    admit: Admit,
    keep_raw: bool,
) -> None:
    excluded = f" AND coalesce({_CODE} NOT IN {LEFT_OUT}, true)" if REJECT in given else ""
    unusual = connection.cursor().execute(
        f"SELECT arrival, row, event_rows.raw, {', '.join(f'event_rows.{name}' for name in given)} FROM event_rows"
        f" LEFT JOIN people ON people.user_id = event_rows.{Columns.USER}"
        f" WHERE (NOT plain OR people.reason IS NOT NULL){excluded} ORDER BY arrival"
    )
    while batch := unusual.fetchmany(BATCH_SIZE):
        rows = [_raw_event(dict(zip(given, values, strict=True))) for _, _, _, *values in batch]
        admission = admit(list(dict.fromkeys(row.get(Columns.USER) for row, _ in rows)))
        items = [item for row, _ in rows if (item := clean_id(row.get(Columns.ITEM)))]
        judged = judge_each(
            (row for row, _ in rows),
            source=source,
            settings=settings,
            known_items=_known(connection, items),
            now=now,
            admission=admission,
        )
        good, bad = [], []
        for (arrival, number, raw, *_), (row, reject), verdict in zip(batch, rows, judged, strict=True):
            user = clean_id(row.get(Columns.USER))
            stored = user and admission.names.get(user, user)
            if reject and not (stored and stored in admission.refused):
                verdict = Rejected(0, json_safe({**row, Columns.USER: stored}), reject)
            if isinstance(verdict, EventRow):
                values = {"arrival": arrival, "micros": _micros(verdict.occurred_at), **verdict._asdict()}
                good.append([values[name] for name in schema.names])
                continue
            kept = verdict.row
            if kept and keep_raw and raw is not None:
                kept = with_raw(kept, raw) | ({Columns.USER: stored} if stored else {})
            bad.append((arrival, number, stored, json.dumps(kept), verdict.reason))
        insert_rows(connection, "accepted_rows", schema, good)
        insert_rows(connection, "rejected_events", _REJECTED, bad)


def _raw_event(row: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A row as `clean_events` reads it, and the reason for which it is rejected already."""
    raw_time, reject = row.pop(RAW_TIME, None), row.pop(REJECT, None)
    if row[Columns.TIMESTAMP] is None and raw_time is not None:
        row[Columns.TIMESTAMP] = raw_time
        if epoch(raw_time) == epoch(raw_time):
            reject = reject or f"bad_timestamp: {raw_time!r} is no time in the format of the mapping"
    return row, reject


def _known(connection: DuckDBPyConnection, items: list[str]) -> set[str]:
    found = connection.execute("SELECT item_id FROM known_items WHERE item_id IN (SELECT unnest($1))", [items])
    return {item for (item,) in found.fetchall()}


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _left_out(connection: DuckDBPyConnection) -> dict[str, int]:
    counts = f"SELECT {_CODE}, count(*) FROM event_rows WHERE {_CODE} IN {LEFT_OUT} GROUP BY 1 ORDER BY 2 DESC"
    return dict(connection.execute(counts).fetchall())


def _deduplicate(connection: DuckDBPyConnection, left_out: Mapping[str, int]) -> Verdicts:
    connection.execute(
        "CREATE OR REPLACE TABLE good_events AS SELECT * FROM accepted_rows SEMI JOIN (SELECT min(arrival) AS arrival"
        " FROM accepted_rows GROUP BY event_id) AS firsts USING (arrival) ORDER BY micros, arrival"
    )
    counts = "SELECT (SELECT count(*) FROM good_events), (SELECT count(*) FROM accepted_rows)"
    [(accepted, valid)] = connection.execute(counts).fetchall()
    words = connection.execute(
        f"SELECT CAST(raw AS JSON) ->> '{Columns.EVENT}' AS word, count(*) FROM rejected_events"
        f" WHERE starts_with(reason, 'unknown_event:') GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MAX_UNKNOWN_WORDS}"
    ).fetchall()
    for table in ("event_rows", "accepted_rows", "people"):
        connection.execute(f"DROP TABLE {table}")
    unknown = {str(word): count for word, count in words}
    return Verdicts(accepted, valid - accepted, counts_by_code(connection, "rejected_events"), left_out, unknown)
