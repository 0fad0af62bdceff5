"""Monthly partitions of `events` and `impressions`: created ahead by the flow `retention`, else with the first row of a
month."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Literal, get_args

from sqlalchemy import Connection, text

_LOCK = 0x64756F74656D70  # "duotemp"; held while creating partitions
KNOWN = "partitions"
MONTHS_AHEAD = 2
Partitioned = Literal["events", "impressions"]
BeginTransaction = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction, such as `Engine.begin`."""


def ensure_partitions(begin: BeginTransaction, times: Iterable[datetime], table: Partitioned = "events") -> int:
    """Creates the missing partitions for rows of these times, each in its own transaction.

    A new partition is built as a separate table and then attached, which blocks neither readers nor writers.

    Args:
        times: Timezone-aware.

    Returns:
        The number of partitions that were missing.
    """
    with begin() as connection:
        missing = missing_months(connection, times, table)
    for month in sorted(missing):
        with begin() as connection:
            _make(connection, table, month)
    return len(missing)


def create_upcoming_partitions(begin: BeginTransaction, now: datetime) -> int:
    """Creates the partitions of this and the next months in both tables and returns how many were missing."""
    months = [month_of(now)]
    for _ in range(MONTHS_AHEAD):
        months.append(_month_after(months[-1]))
    return sum(ensure_partitions(begin, months, table) for table in get_args(Partitioned))


def missing_months(connection: Connection, times: Iterable[datetime], table: Partitioned = "events") -> set[datetime]:
    """The months of these times (aware) that have no partition."""
    existing: set[str] = connection.info.setdefault(KNOWN, set())  # cached per connection
    months = {month for month in _months(times) if partition_name(table, month) not in existing}
    missing = set(_missing(connection, table, months)) if months else set()
    existing |= {partition_name(table, month) for month in months - missing}
    return missing


def month_of(time: datetime) -> datetime:
    """The start of the month of an aware time, UTC."""
    return time.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def summarize_times(connection: Connection) -> None:
    """Brings the indexes on the times of events up to date, so that a span of time is found without reading a month."""
    connection.execute(
        text("SELECT brin_summarize_new_values(inhrelid) FROM pg_inherits WHERE inhparent = 'events_time'::regclass")
    )


def _make(connection: Connection, table: str, month: datetime) -> None:
    """Creates a partition under a lock until commit, so that two writers do not create the same one."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if not _missing(connection, table, {month}):
        return
    name, following = partition_name(table, month), _month_after(month)
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
    connection.execute(
        text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{following}')")
    )


def _missing(connection: Connection, table: str, months: set[datetime]) -> list[datetime]:
    names = {partition_name(table, month): month for month in months}
    # not to_regclass: its cache may miss a partition that another writer has just created
    query = text("SELECT relname FROM pg_class WHERE relname = ANY(:names) AND pg_table_is_visible(oid)")
    existing = set(connection.scalars(query, {"names": list(names)}))
    return [month for name, month in names.items() if name not in existing]


def _months(times: Iterable[datetime]) -> set[datetime]:
    times = list(times)
    ends = {month_of(min(times)), month_of(max(times))} if times else set()
    return ends if len(ends) < 2 else set(map(month_of, times))


def _month_after(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def partition_name(table: str, month: datetime) -> str:
    """The partition of a table that holds the rows of a month (its start)."""
    return f"{table}_{month:%Y_%m}"
