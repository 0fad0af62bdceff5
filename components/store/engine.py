"""The way into Postgres, the errors that say what to do when it is shut, and being told of changes at their commit
(LISTEN)."""

from collections.abc import Sequence
from typing import TypeGuard

import psycopg
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError

from components.core.errors import DuotempoError
from components.store.faults import Fault, fault_of
from components.store.timed import TimedConnection

CONNECT_TIMEOUT_SECONDS = 5
_UNREACHABLE = "start it with `duotempo up`, or check host, user, password and name in DUOTEMPO_DATABASE_URL"
_REMEDIES = {  # by the beginning of SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html
    "08": _UNREACHABLE,
    "57P": _UNREACHABLE,
    "42P01": "`duotempo up` makes Duotempo's tables",
    "53": "give the server more disk, memory or connections, then try again",
}
USERS, GONE, ITEMS = "duotempo_users", "duotempo_gone", "duotempo_items"
VECTORS = "duotempo_vectors"
"""Channels; the payload is a JSON array of the ids of who or what changed, empty for more than it can hold."""
ALIVE_SECONDS = 2.0
KEEPALIVE_OPTIONS = "keepalives_idle=5&keepalives_interval=2&keepalives_count=3"
"""A server that is gone without a word is missed after some ten seconds."""


class StoreError(DuotempoError):
    """Postgres cannot do what was asked; the message names the server and says how to fix it, never the password."""


def make_engine(url: str, *, pool_seconds: float = 30.0, checked: bool = True) -> Engine:
    """An engine on psycopg 3 for a `postgresql://` URL; it checks a pooled connection before it lends it, unless it is
    told not to, and lets wait for one so long.

    Raises StoreError when the URL is none of Postgres. Every use of the engine raises StoreError, naming host and
    port, when the server is down, refuses the login, runs out of resources or lacks Duotempo's tables.
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
        pool_use_lifo=True,  # few connections work much: each has its plans ready
        hide_parameters=True,  # an error may be logged, and they hold what people wrote
        connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "duotempo"},
    )

    @event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> None:
        error = context.original_exception
        if is_server_error(error) and not context.is_pre_ping:
            raise store_error(parsed, error) from error

    return engine


def is_server_error(error: BaseException | None) -> TypeGuard[psycopg.Error]:
    """Whether a person has to fix the server for it, and not what was to be stored."""
    if not isinstance(error, psycopg.OperationalError | psycopg.errors.UndefinedTable):
        return False
    return fault_of(error) is not Fault.ROW


def store_error(url: URL, error: psycopg.Error) -> StoreError:
    """What went wrong at which server, and how to fix it."""
    state = error.sqlstate or "08000"  # a connection that was refused bears none
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    remedy = next((remedy for beginning, remedy in _REMEDIES.items() if state.startswith(beginning)), "try again")
    return StoreError(f"Postgres at {url.host}:{url.port or 5432} (database {url.database}): {reason}; {remedy}")


def listen(url: str, channels: Sequence[str], name: str) -> TimedConnection:
    """A connection that is told what comes on the channels; `name` shows in pg_stat_activity. Raises psycopg.Error."""
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
    """Raises psycopg.OperationalError when the server does not answer in time, and so tells nothing either."""
    with connection.within(ALIVE_SECONDS):
        connection.execute("SELECT")
