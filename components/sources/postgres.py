"""Fetches a query's rows from Postgres by COPY."""

from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from components.core.files import atomic_write
from components.sources.source import Fetched, Source, SourceError, SourceUnavailable

_CONNECTION: dict[str, str | int] = {
    "connect_timeout": 10,
    "application_name": "duotempo ingest",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_AWAY = ("08", "57P", "53")
"""SQLSTATEs of a server that is away or out of resources."""
_REFUSALS = ("authentication failed", "does not exist", "no password", "pg_hba", "invalid", "missing")
"""Words of refused connections, for which psycopg gives no SQLSTATE."""
_TIME, _NUMBER = "D", "N"


@dataclass(frozen=True)
class _Column:
    """The watermark column: the name of its type, and the category of that in Postgres' catalogue."""

    name: str
    type: str
    category: str


def fetch_query(source: Source, folder: Path, watermark: str | None) -> Fetched:
    """Writes the rows of the source's query as CSV, in one read-only transaction; see `components.sources.fetch`.

    With a watermark column the rows are in its order.
    """
    if not (query := (source.query or "").strip().rstrip(";")):
        raise SourceError(f'{source.name}: {source.shown} needs a query, such as "SELECT * FROM orders"')
    selected = sql.SQL("(") + sql.SQL(query) + sql.SQL("\n) AS source_rows")
    try:
        with _connect(source) as connection:
            if source.watermark is None:
                return _copy(connection, source, folder, sql.SQL("SELECT * FROM ") + selected, None)
            column = _watermark_column(connection, source, source.watermark, selected)
            since = _since(source, column, watermark)
            newest = _newest(connection, source, column, selected, since)
            if newest is None or newest == watermark:
                return Fetched(None, watermark)
            rows = sql.SQL("SELECT * FROM {} WHERE {} ORDER BY {}").format(selected, since, sql.Identifier(column.name))
            return _copy(connection, source, folder, rows, newest)
    except psycopg.Error as error:
        raise _explained(source, error) from error


def _connect(source: Source) -> psycopg.Connection:
    login = make_conninfo(source.address, **{"password": source.secret} if source.secret else {})
    connection = psycopg.connect(make_conninfo(login, **_CONNECTION))
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.execute("SET TIME ZONE 'UTC'")
    connection.execute("SET DateStyle TO 'ISO'")
    return connection


def _watermark_column(connection: psycopg.Connection, source: Source, name: str, selected: sql.Composed) -> _Column:
    description = connection.execute(sql.SQL("SELECT * FROM ") + selected + sql.SQL(" LIMIT 0")).description or []
    types = {column.name: column.type_code for column in description}
    if name not in types:
        raise SourceError(
            f"{source.name}: the query has no column {name}, which is its watermark; it has {', '.join(types)}"
        )
    found = connection.execute(
        "SELECT format_type(oid, NULL), typcategory FROM pg_type WHERE oid = %s", [types[name]]
    ).fetchone()
    assert found is not None
    column = _Column(name, *found)
    if source.overlap and column.category not in (_TIME, _NUMBER):
        raise SourceError(f"{source.name}: overlap needs a column of times or numbers, and {name} is {column.type}")
    return column


def _since(source: Source, column: _Column, watermark: str | None) -> sql.Composable:
    """The condition for the rows to fetch."""
    if watermark is None:
        return sql.SQL("true")
    start: sql.Composable = sql.SQL("CAST({} AS {})").format(sql.Literal(watermark), sql.SQL(column.type))
    if source.overlap:
        overlap = sql.Literal(source.overlap)
        behind = sql.SQL("make_interval(secs => {})") if column.category == _TIME else sql.SQL("{}")
        start = start + sql.SQL(" - ") + behind.format(overlap)
    return sql.SQL("({} >= {})").format(sql.Identifier(column.name), start)


def _newest(
    connection: psycopg.Connection, source: Source, column: _Column, selected: sql.Composed, since: sql.Composable
) -> str | None:
    """The newest watermark as text; None without rows. Raises SourceError where a row has none."""
    found = connection.execute(
        sql.SQL(
            "SELECT CAST(max({column}) AS text), count(*) FILTER (WHERE {column} IS NULL) FROM {selected}"
            " WHERE {since} OR {column} IS NULL"
        ).format(column=sql.Identifier(column.name), selected=selected, since=since)
    ).fetchone()
    assert found is not None
    newest, missing = found
    if missing:
        raise SourceError(
            f"{source.name}: {missing:,} rows have no {column.name} and would never be read; "
            f"select, for example, coalesce({column.name}, created_at) AS {column.name}"
        )
    return None if newest is None else str(newest)


def _copy(
    connection: psycopg.Connection, source: Source, folder: Path, rows: sql.Composed, newest: str | None
) -> Fetched:
    file = folder / f"{connection.info.dbname}.csv"
    statement = sql.SQL("COPY (") + rows + sql.SQL(") TO STDOUT WITH (FORMAT csv, HEADER)")
    with connection.cursor() as cursor:
        with atomic_write(file) as part, part.open("wb") as stream, cursor.copy(statement) as copy:
            for data in copy:
                stream.write(data)
        if not cursor.rowcount:
            file.unlink()
            return Fetched(None, newest)
        return Fetched(file, newest, cursor.rowcount)


def _explained(source: Source, error: psycopg.Error) -> SourceError:
    reason = " ".join(str(error).split()).replace(source.address, source.shown)
    if source.secret:
        reason = reason.replace(source.secret, "…")
    about, state = f"{source.name}: {source.shown}: {reason}", error.sqlstate
    if state is not None and not state.startswith(_AWAY):
        return SourceError(f"{about}; correct the query")
    if any(words in reason for words in _REFUSALS):
        return SourceError(f"{about}; check its address and its secret")
    return SourceUnavailable(f"{about}; check its host and port, then try again")
