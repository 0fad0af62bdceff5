"""Being told of what changes in Postgres, at its commit (LISTEN); the migrations 0006 to 0008 say what is told."""

from collections.abc import Sequence

import psycopg
from sqlalchemy import make_url

from components.store.engine import CONNECT_TIMEOUT_SECONDS
from components.store.timed import TimedConnection

USERS, GONE, ITEMS = "duotempo_users", "duotempo_gone", "duotempo_items"
VECTORS = "duotempo_vectors"
"""Channels; the payload is a JSON array of the ids of who or what changed, empty for more than it can hold."""
ALIVE_SECONDS = 2.0
KEPT_ALIVE = "keepalives_idle=5&keepalives_interval=2&keepalives_count=3"
"""A server that is gone without a word is missed after some ten seconds."""


def listen(url: str, channels: Sequence[str], name: str) -> TimedConnection:
    """A connection that is told what comes on the channels; `name` shows in pg_stat_activity. Raises psycopg.Error."""
    address = make_url(url).set(drivername="postgresql").update_query_string(KEPT_ALIVE)
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
