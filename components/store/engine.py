"""Postgres engines, errors that say how to fix an unavailable server, and connections that LISTEN for changes."""

from collections.abc import Sequence
from typing import TypeGuard

import psycopg
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError

from components.core.errors import DuotempoError
from components.store.db_errors import Fault, classify_error
from components.store.timed_connection import TimedConnection

CONNECT_TIMEOUT_SECONDS = 5
_UNREACHABLE = "start it with `duotempo up`, or check host, user, password and name in DUOTEMPO_DATABASE_URL"
_REMEDIES = {  # by SQLSTATE prefix, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": _UNREACHABLE,
    "57P": _UNREACHABLE,
    "42P01": "`duotempo up` makes Duotempo's tables",
    "53": "give the server more disk, memory or connections, then try again",
}
USERS, GONE, ITEMS = "duotempo_users", "duotempo_gone", "duotempo_items"
VECTORS = "duotempo_vectors"
"""NOTIFY channels; the payload is a JSON array of the changed ids, empty when they do not fit."""
ALIVE_SECONDS = 2.0
KEEPALIVE_OPTIONS = "keepalives_idle=5&keepalives_interval=2&keepalives_count=3"
"""TCP keepalives that detect a silently lost server after about ten seconds."""


class StoreError(DuotempoError):
    """Postgres cannot serve the request; the message names the server, without the password, and how to fix it."""


def make_engine(url: str, *, pool_seconds: float = 30.0, checked: bool = True) -> Engine:
    """Creates a psycopg 3 engine for a `postgresql://` URL.

    Every use of the engine raises StoreError, naming host and port, when the server is down, refuses the login, runs
    out of resources or lacks Duotempo's tables.

    Args:
        pool_seconds: How long to wait for a pooled connection.
        checked: Whether to test a pooled connection before use.

    Raises:
        StoreError: The URL is not one of Postgres.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(
            "the database URL cannot be read; it looks like postgresql://user:password@host:port/name"
        ) from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise StoreError(f"the database URL is one of {parsed.drivername}; it must begin with postgresql://")
    parsed = parsed.set(drivername="postgresql+psycopg")
    engine = create_engine(
        parsed,
        pool_pre_ping=checked,
        pool_timeout=pool_seconds,
        pool_use_lifo=True,  # few connections do most of the work, so their prepared plans are reused
        hide_parameters=True,  # errors may be logged, and parameters hold user data
        connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "duotempo"},
    )

    @event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> None:
        error = context.original_exception
        if is_server_error(error) and not context.is_pre_ping:
            raise store_error(parsed, error) from error

    return engine


def is_server_error(error: BaseException | None) -> TypeGuard[psycopg.Error]:
    """Whether the error is the server's (to be fixed by an operator), not that of the data."""
    if not isinstance(error, psycopg.OperationalError | psycopg.errors.UndefinedTable):
        return False
    return classify_error(error) is not Fault.ROW


def store_error(url: URL, error: psycopg.Error) -> StoreError:
    """Converts a psycopg error to a StoreError that names the server and says how to fix it."""
    state = error.sqlstate or "08000"  # a refused connection has no state
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    remedy = next((remedy for prefix, remedy in _REMEDIES.items() if state.startswith(prefix)), "try again")
    return StoreError(f"Postgres at {url.host}:{url.port or 5432} (database {url.database}): {reason}; {remedy}")


def listen(url: str, channels: Sequence[str], name: str) -> TimedConnection:
    """Opens a connection that listens on the channels; `name` shows in pg_stat_activity. Raises psycopg.Error."""
    address = make_url(url).set(drivername="postgresql").update_query_string(KEEPALIVE_OPTIONS)
    connection = TimedConnection.connect(
        address.render_as_string(hide_password=False),
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        application_name=name,
    )
    try:
        for channel in channels:
            connection.execute(f"LISTEN {channel}".encode())
    except psycopg.Error:
        connection.close()
        raise
    return connection


def check_alive(connection: TimedConnection) -> None:
    """Raises psycopg.OperationalError when the server does not answer in time, so that notifications may be missed."""
    with connection.within(ALIVE_SECONDS):
        connection.execute("SELECT")
