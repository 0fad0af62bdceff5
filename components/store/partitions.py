"""Monthly partitions of `events` and `impressions`: made ahead by the flow `retention`, else when the first row of a
month comes."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Literal, get_args

from sqlalchemy import Connection, text

_LOCK = 0x64756F74656D70  # "duotemp": whoever makes partitions holds it
KNOWN = "partitions"
MONTHS_AHEAD = 2
Partitioned = Literal["events", "impressions"]
BeginTransaction = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction, such as `Engine.begin`."""


def ensure_partitions(begin: BeginTransaction, times: Iterable[datetime], table: Partitioned = "events") -> int:
    """Makes the partitions that rows of these times (aware) need, each in a transaction of its own: how many there
    were to make. One that exists is left alone.

    A new month is built beside the table and then attached, which blocks neither its readers nor its writers.
    """
    with begin() as connection:
        missing = missing_months(connection, times, table)
    for month in sorted(missing):
        with begin() as connection:
            _make(connection, table, month)
    return len(missing)


def make_ahead(begin: BeginTransaction, now: datetime) -> int:
    """Makes the partitions of this month and of those that come next, of both tables: how many there were to make."""
    months = [month_of(now)]
    for _ in range(MONTHS_AHEAD):
        months.append(_month_after(months[-1]))
    return sum(ensure_partitions(begin, months, table) for table in get_args(Partitioned))


def missing_months(connection: Connection, times: Iterable[datetime], table: Partitioned = "events") -> set[datetime]:
    """The months of these times (aware) that have no partition."""
    known: set[str] = connection.info.setdefault(KNOWN, set())  # by this connection, for as long as it is open
    months = {month for month in _months(times) if _name(table, month) not in known}
    missing = set(_missing(connection, table, months)) if months else set()
    known |= {_name(table, month) for month in months - missing}
    return missing


def month_of(time: datetime) -> datetime:
    """The first moment of the month of an aware time, UTC."""
    return time.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _make(connection: Connection, table: str, month: datetime) -> None:
    """The lock, held to the end of the transaction, keeps two writers from making the same month."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if not _missing(connection, table, {month}):
        return
    name, following = _name(table, month), _month_after(month)
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"))
    connection.execute(
        text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{following}')")
    )


def _missing(connection: Connection, table: str, months: set[datetime]) -> list[datetime]:
    names = {_name(table, month): month for month in months}
    # not to_regclass: it may answer from a cache that does not know yet what another writer has just made
    query = text("SELECT relname FROM pg_class WHERE relname = ANY(:names) AND pg_table_is_visible(oid)")
    there = set(connection.scalars(query, {"names": list(names)}))
    return [month for name, month in names.items() if name not in there]


def _months(times: Iterable[datetime]) -> set[datetime]:
    times = list(times)
    ends = {month_of(min(times)), month_of(max(times))} if times else set()
    return ends if len(ends) < 2 else set(map(month_of, times))


def _month_after(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _name(table: str, month: datetime) -> str:
    return f"{table}_{month:%Y_%m}"
